//! An application that remembers every connection and every byte that reached it.

use super::http::Messages;
use outrigger_testkit::{Host, wait_for};
use parking_lot::{Condvar, Mutex};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// A listening application; it ends with this.
pub(crate) struct App {
    host: Host,
    port: u16,
    record: Arc<Record>,
}

#[derive(Default)]
struct Record {
    visits: Mutex<Vec<Visit>>,
    open: (Mutex<bool>, Condvar),
    stopped: AtomicBool,
}

/// A connection: where it came from, and what it sent.
struct Visit {
    from: SocketAddr,
    sent: Arc<Mutex<Vec<u8>>>,
}

/// A connection as the application has it; what it reads is recorded.
pub(crate) struct Connection {
    pub stream: TcpStream,
    /// The machine's name.
    pub host: String,
    sent: Arc<Mutex<Vec<u8>>>,
    record: Arc<Record>,
}

impl App {
    /// Listens on a machine, whether it is a workload's or not.
    pub(crate) fn start(
        host: &Host,
        port: u16,
        serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = host.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap().unwrap();
        let record = Arc::new(Record::default());
        let app = Self { host: host.clone(), port, record: record.clone() };
        let (host, serve) = (host.name().to_owned(), Arc::new(serve));
        thread::spawn(move || {
            while let Ok((stream, from)) = listener.accept() {
                if record.stopped.load(Ordering::Acquire) {
                    return;
                }
                let _ = stream.set_nodelay(true);
                let sent = Arc::default();
                record.visits.lock().push(Visit { from, sent: Arc::clone(&sent) });
                let (host, record, serve) = (host.clone(), record.clone(), serve.clone());
                let mut connection = Connection { stream, host, sent, record };
                // An error is the other side's end; what it did until then is recorded.
                thread::spawn(move || serve(&mut connection));
            }
        });
        app
    }

    /// What each connection until now has sent, in the order in which they came.
    pub(crate) fn visits(&self) -> Vec<Vec<u8>> {
        // Connections are accepted in order: once ours is, all before it are.
        let fence = self.connect();
        let own = fence.local_addr().unwrap();
        let is_fence = |visit: &Visit| visit.from.ip().to_canonical() == own.ip() && visit.from.port() == own.port();
        let passed = || {
            let mut visits = self.record.visits.lock();
            let at = visits.iter().position(is_fence);
            at.map(|at| visits.remove(at)).is_some()
        };
        wait_for("the application to accept", super::PATIENCE, passed).unwrap();
        self.record.visits.lock().iter().map(|visit| visit.sent.lock().clone()).collect()
    }

    /// Everything that was received, as text.
    pub(crate) fn received(&self) -> String {
        String::from_utf8_lossy(&self.visits().concat()).into_owned()
    }

    /// Whether nobody has connected.
    pub(crate) fn is_untouched(&self) -> bool {
        self.visits().is_empty()
    }

    /// Lets [`Connection::wait_until_released`] go on.
    pub(crate) fn release(&self) {
        *self.record.open.0.lock() = true;
        self.record.open.1.notify_all();
    }

    fn connect(&self) -> TcpStream {
        // Loopback is not redirected.
        self.host.enter(|| TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))).unwrap().unwrap()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.record.stopped.store(true, Ordering::Release);
        self.release();
        drop(self.connect());
    }
}

impl Connection {
    /// Waits for [`App::release`].
    pub(crate) fn wait_until_released(&self) {
        let (open, changed) = &self.record.open;
        let mut open = open.lock();
        changed.wait_while(&mut open, |open| !*open);
    }
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.stream.read(bytes)?;
        self.sent.lock().extend_from_slice(&bytes[..n]);
        Ok(n)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Answers every request by `hello-from-<machine>`; those for `/held` only once the application is released.
pub(crate) fn http(connection: &mut Connection) -> io::Result<()> {
    let mut requests = Messages::default();
    while let Some((head, _)) = requests.next(connection)? {
        if head.split(' ').nth(1) == Some("/held") {
            connection.wait_until_released();
        }
        let body = format!("hello-from-{}", connection.host);
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        connection.write_all(response.as_bytes())?;
    }
    Ok(())
}

/// Sends back whatever it receives, and ends when the other side has.
pub(crate) fn echo(connection: &mut Connection) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match connection.read(&mut bytes)? {
            0 => return connection.stream.shutdown(Shutdown::Write),
            n => connection.write_all(&bytes[..n])?,
        }
    }
}
