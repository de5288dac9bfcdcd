//! A packet socket (packet(7)) in the switch's namespace, which sees every frame once: as it enters a port of the bridge.

use std::fs;
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;
use parking_lot::Mutex;

use crate::flow::{Flow, contains, tcp_flows};
use crate::network::BRIDGE;
use crate::wait::poll;
use crate::{Error, run_in};

/// Segmentation offload lets frames of up to 64 KiB cross a veth pair.
const MAX_FRAME: usize = 128 * 1024;
const MAX_BYTES: usize = 256 << 20;
const QUEUE: usize = 64 << 20;
const LOOPBACK: usize = 1;
/// `PACKET_OUTGOING` of linux/if_packet.h: the second sight of a frame, as it leaves the bridge.
const OUTGOING: u8 = 4;

/// A running recording of all frames on a network.
pub struct Capture {
    namespace: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    frames: Mutex<Vec<Frame>>,
    lost: AtomicU64,
    marker: AtomicU64,
    stopped: AtomicBool,
}

/// One frame from its Ethernet header on.
#[derive(Clone, Debug)]
pub struct Frame {
    pub at: SystemTime,
    pub bytes: Vec<u8>,
}

impl Capture {
    pub(crate) fn start(switch: &str) -> Result<Self, Error> {
        let failed = |e: Errno| Error::Io { what: "cannot open a packet socket".into(), source: io::Error::from(e) };
        let (socket, bridge) = run_in(switch, open)?.map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let recorder = Arc::clone(&shared);
        let thread = thread::spawn(move || record(&socket, bridge, &recorder));
        Ok(Self { namespace: switch.to_owned(), shared, thread: Some(thread) })
    }

    /// Everything that crossed the switch until now; an error if a single frame was lost, since silence would prove nothing.
    pub fn packets(&self) -> Result<Packets, Error> {
        self.catch_up()?;
        match self.shared.lost.load(Ordering::Acquire) {
            0 => Ok(Packets { frames: self.shared.frames.lock().clone() }),
            lost => Err(Error::FramesLost { lost }),
        }
    }

    /// Waits until the recorder has seen a packet that we send now, and so all that came before it.
    fn catch_up(&self) -> Result<(), Error> {
        let failed = |source| Error::Io { what: "cannot mark the end of the capture".into(), source };
        let sender = run_in(&self.namespace, || UdpSocket::bind("127.0.0.1:0"))?.map_err(failed)?;
        let number = self.shared.marker.load(Ordering::Acquire) + 1;
        let timeout = Duration::from_secs(10);
        let seen = poll(timeout, || {
            let sent = sender.send_to(&marker(number), "127.0.0.1:9");
            thread::yield_now();
            match sent {
                Err(e) if e.kind() != io::ErrorKind::ConnectionRefused => Some(Err(failed(e))),
                _ => (self.shared.marker.load(Ordering::Acquire) >= number).then_some(Ok(())),
            }
        });
        let what = "the capture to catch up".to_owned();
        seen.unwrap_or(Err(Error::TimedOut { what, waited: timeout, log: String::new() }))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.thread.take().map(JoinHandle::join);
    }
}

/// The frames of a capture.
#[derive(Clone, Debug)]
pub struct Packets {
    pub frames: Vec<Frame>,
}

impl Packets {
    /// The TCP connections, in the order of their first packets.
    pub fn tcp_flows(&self) -> Vec<Flow> {
        tcp_flows(&self.frames)
    }

    /// Says where `needle` crossed the switch, in a frame of any kind or split over the segments of a connection.
    pub fn find(&self, needle: &[u8]) -> Option<String> {
        let flow = self.tcp_flows().into_iter().find(|flow| flow.contains(needle));
        let frame = || self.frames.iter().position(|frame| contains(&frame.bytes, needle));
        flow.map(|flow| flow.to_string()).or_else(|| frame().map(|index| format!("frame {index}")))
    }

    /// Writes a pcap file, for tcpdump or Wireshark.
    pub fn write_pcap(&self, path: &Path) -> Result<(), Error> {
        let mut file: Vec<u8> = Vec::new();
        // Magic, version 2.4, two unused words, snapshot length, link type Ethernet.
        let header = [0xa1b2_c3d4, 0x0004_0002, 0, 0, MAX_FRAME as u32, 1];
        file.extend(header.iter().flat_map(|word: &u32| word.to_le_bytes()));
        for frame in &self.frames {
            let at = frame.at.duration_since(UNIX_EPOCH).unwrap_or_default();
            let len = frame.bytes.len() as u32;
            file.extend([at.as_secs() as u32, at.subsec_micros(), len, len].iter().flat_map(|word| word.to_le_bytes()));
            file.extend(&frame.bytes);
        }
        fs::write(path, file).map_err(Error::io(format!("cannot write {}", path.display())))
    }
}

fn open() -> Result<(OwnedFd, usize), Errno> {
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
    setsockopt(&socket, sockopt::RcvBufForce, &QUEUE)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))?;
    Ok((socket, if_nametoindex(BRIDGE)? as usize))
}

fn record(socket: &OwnedFd, bridge: usize, shared: &Shared) {
    let mut buffer = vec![0; MAX_FRAME];
    let mut room = MAX_BYTES;
    while !shared.stopped.load(Ordering::Acquire) {
        let Some((from, length)) = receive(socket, &mut buffer, shared) else { continue };
        let bytes = &buffer[..length];
        if from.ifindex() == LOOPBACK {
            note_marker(bytes, shared);
        } else if from.ifindex() != bridge && from.pkttype() != OUTGOING {
            if bytes.len() > room {
                shared.lost.fetch_add(1, Ordering::AcqRel);
                continue;
            }
            room -= bytes.len();
            shared.frames.lock().push(Frame { at: SystemTime::now(), bytes: bytes.to_vec() });
        }
    }
}

fn receive(socket: &OwnedFd, buffer: &mut [u8], shared: &Shared) -> Option<(LinkAddr, usize)> {
    let mut control = nix::cmsg_space!(u32);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    for item in message.cmsgs().ok()? {
        if let ControlMessageOwned::RxqOvfl(dropped) = item {
            shared.lost.fetch_max(u64::from(dropped), Ordering::AcqRel);
        }
    }
    Some((message.address?, message.bytes))
}

fn marker(number: u64) -> [u8; 32] {
    let mut bytes = *b"outrigger capture marker\0\0\0\0\0\0\0\0";
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn note_marker(bytes: &[u8], shared: &Shared) {
    let due = shared.marker.load(Ordering::Acquire) + 1;
    if bytes.ends_with(&marker(due)) {
        shared.marker.store(due, Ordering::Release);
    }
}
