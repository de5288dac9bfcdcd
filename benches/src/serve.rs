//! The server behind every path, as cheap as a server can be: it counts heads and answers each with the same bytes.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the body starts with; whoever sees it on the wire sees plaintext.
pub(crate) const MARKER: &str = "the body of the benchmark";
const BODY: usize = 1024;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Serves until it is killed.
pub(crate) fn run(listen: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::spawn(answer(stream));
        }
    })
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let response = response();
    let mut received = Vec::with_capacity(4096);
    while stream.read_buf(&mut received).await? > 0 {
        while let Some(end) = received.windows(END_OF_HEAD.len()).position(|window| window == END_OF_HEAD) {
            received.drain(..end + END_OF_HEAD.len());
            stream.write_all(&response).await?;
        }
    }
    Ok(())
}

fn response() -> Vec<u8> {
    let filler = ".".repeat(BODY - MARKER.len());
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {BODY}\r\n\r\n");
    format!("{head}{MARKER}{filler}").into_bytes()
}
