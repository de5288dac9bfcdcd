use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, SlicedPacket, TcpSlice, TransportSlice};

use crate::Frame;

/// A TCP connection as it crossed the switch; the client is the side that sent the first packet seen.
#[derive(Clone, Debug)]
pub struct Flow {
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// What the client sent.
    pub sent: Stream,
    /// What the server sent.
    pub received: Stream,
}

impl Flow {
    /// Whether the client's first bytes are a TLS record that holds a ClientHello (RFC 8446 4.1.2, 5.1).
    pub fn starts_with_client_hello(&self) -> bool {
        matches!(self.sent.bytes(), [22, 3, _, _, _, 1, ..])
    }

    /// Whether either side's bytes hold `needle`, also where it is split over segments.
    pub fn contains(&self, needle: &[u8]) -> bool {
        contains(self.sent.bytes(), needle) || contains(self.received.bytes(), needle)
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, received) = (self.sent.bytes().len(), self.received.bytes().len());
        write!(f, "{} -> {} ({sent} bytes sent, {received} received)", self.client, self.server)
    }
}

/// One direction of a connection: its payload in the order of its sequence numbers, retransmissions once.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    next: Option<u32>,
    bytes: Vec<u8>,
    early: BTreeMap<u32, Vec<u8>>,
}

impl Stream {
    /// The payload so far, up to the first gap.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn push(&mut self, tcp: &TcpSlice<'_>) {
        let sequence = tcp.sequence_number().wrapping_add(u32::from(tcp.syn()));
        if tcp.syn() || self.next.is_none() {
            self.next = Some(sequence);
        }
        let waiting = self.early.entry(sequence).or_default();
        if tcp.payload().len() > waiting.len() {
            *waiting = tcp.payload().to_vec();
        }
        while self.take_next() {}
    }

    /// Moves on over one segment that starts at or before the next byte due; what came twice adds nothing.
    fn take_next(&mut self) -> bool {
        let Some(next) = self.next else { return false };
        let due = |start: &&u32| start.wrapping_sub(next).cast_signed() <= 0;
        let Some(start) = self.early.keys().find(due).copied() else { return false };
        let payload = self.early.remove(&start).unwrap_or_default();
        let fresh = payload.get(next.wrapping_sub(start) as usize..).unwrap_or_default();
        self.bytes.extend_from_slice(fresh);
        self.next = Some(next.wrapping_add(fresh.len() as u32));
        true
    }
}

/// The TCP connections among the frames, in the order of their first packets.
pub(crate) fn tcp_flows(frames: &[Frame]) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    let mut open: BTreeMap<(SocketAddr, SocketAddr), usize> = BTreeMap::new();
    for packet in frames.iter().filter_map(|frame| SlicedPacket::from_ethernet(&frame.bytes).ok()) {
        let (Some((from, to)), Some(TransportSlice::Tcp(tcp))) = (addresses(&packet), &packet.transport) else {
            continue;
        };
        let (from, to) = (SocketAddr::new(from, tcp.source_port()), SocketAddr::new(to, tcp.destination_port()));
        let known = open.get(&(from, to)).or_else(|| open.get(&(to, from))).copied();
        // A SYN on a pair of ports that is in the table is a new connection, unless it is the old one's, sent again.
        let reused = tcp.syn() && !tcp.ack() && known.is_some_and(|i| !flows[i].sent.bytes().is_empty());
        let index = known.filter(|_| !reused).unwrap_or_else(|| {
            flows.push(Flow { client: from, server: to, sent: Stream::default(), received: Stream::default() });
            flows.len() - 1
        });
        open.remove(&(to, from));
        open.insert((from, to), index);
        let flow = &mut flows[index];
        let stream = if flow.client == from { &mut flow.sent } else { &mut flow.received };
        stream.push(tcp);
    }
    flows
}

fn addresses(packet: &SlicedPacket<'_>) -> Option<(IpAddr, IpAddr)> {
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Ipv6(ip) => Some((ip.header().source_addr().into(), ip.header().destination_addr().into())),
        NetSlice::Arp(_) => None,
    }
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use etherparse::PacketBuilder;

    use super::*;

    const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 1], 40000);
    const SERVER: ([u8; 4], u16) = ([10, 0, 0, 2], 8080);

    fn frame(from: ([u8; 4], u16), to: ([u8; 4], u16), sequence: u32, syn: bool, payload: &[u8]) -> Frame {
        let builder = PacketBuilder::ethernet2([0; 6], [0; 6]).ipv4(from.0, to.0, 64).tcp(from.1, to.1, sequence, 1000);
        let builder = if syn { builder.syn() } else { builder.ack(1) };
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        Frame { at: SystemTime::UNIX_EPOCH, bytes }
    }

    fn sent(first: u32, pieces: &[(u32, &[u8])]) -> Vec<u8> {
        let mut frames = vec![frame(CLIENT, SERVER, first, true, b"")];
        let at = |offset: u32| first.wrapping_add(1).wrapping_add(offset);
        frames.extend(pieces.iter().map(|(offset, bytes)| frame(CLIENT, SERVER, at(*offset), false, bytes)));
        tcp_flows(&frames)[0].sent.bytes().to_vec()
    }

    #[test]
    fn bytes_come_in_order_and_once_whatever_the_order_of_segments() {
        for first in [7, u32::MAX - 3] {
            assert_eq!(sent(first, &[(0, b"hello "), (6, b"world")]), b"hello world");
            assert_eq!(sent(first, &[(6, b"world"), (0, b"hello ")]), b"hello world");
            assert_eq!(sent(first, &[(0, b"hello "), (0, b"hello "), (0, b"hello world")]), b"hello world");
            assert_eq!(sent(first, &[(6, b"world")]), b"", "what follows a gap waits");
        }
    }

    #[test]
    fn the_client_is_who_spoke_first_and_a_port_used_again_is_another_flow() {
        let frames = [
            frame(CLIENT, SERVER, 1, true, b""),
            frame(SERVER, CLIENT, 50, false, b"banner"),
            frame(CLIENT, SERVER, 2, false, b"one"),
            frame(CLIENT, SERVER, 900, true, b""),
            frame(CLIENT, SERVER, 901, false, b"two"),
        ];
        let flows = tcp_flows(&frames);
        assert_eq!(flows.iter().map(|flow| flow.sent.bytes()).collect::<Vec<_>>(), [b"one", b"two"]);
        assert_eq!(flows[0].received.bytes(), b"banner");
        assert_eq!(flows[0].server.port(), 8080);
    }
}
