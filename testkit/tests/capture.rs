//! Needs root, and iproute2 installed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::thread;

use outrigger_testkit::{Host, Network};

fn pair() -> (Network, Host, Host) {
    let mut network = Network::new().expect("this test needs root");
    let vm = network.add_host("vm", &["10.77.0.2/24", "fd77::2/64"]).unwrap();
    let pod = network.add_host("pod", &["10.77.0.3/24", "fd77::3/64"]).unwrap();
    (network, vm, pod)
}

fn send(from: &Host, to: &Host, address: &str, pieces: &[&[u8]]) {
    let listener = to.enter(|| TcpListener::bind(address)).unwrap().unwrap();
    let mut client = from.enter(|| TcpStream::connect(address)).unwrap().unwrap();
    client.set_nodelay(true).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let reader = thread::spawn(move || server.read_to_end(&mut Vec::new()));
    for piece in pieces {
        client.write_all(piece).unwrap();
    }
    drop(client);
    reader.join().unwrap().unwrap();
}

#[test]
fn text_is_found_in_a_flow_also_when_split_over_segments_and_only_if_it_was_sent() {
    let (network, vm, pod) = pair();
    let capture = network.capture().unwrap();
    send(&vm, &pod, "10.77.0.3:8080", &[b"hello-from-ex", b"ternal-workload"]);
    send(&vm, &pod, "[fd77::3]:8080", &[b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"]);
    let packets = capture.packets().unwrap();

    let found = packets.find(b"hello-from-external-workload").unwrap();
    assert!(found.starts_with("10.77.0.2:") && found.contains("-> 10.77.0.3:8080"), "{found}");
    assert_eq!(packets.find(b"hello-from-legacy-app"), None);
    let flows = packets.tcp_flows();
    assert_eq!(flows.len(), 2);
    assert_eq!(flows[0].sent.bytes(), b"hello-from-external-workload");
    assert!(!flows[0].starts_with_client_hello());
    assert!(flows[1].starts_with_client_hello() && flows[1].server.is_ipv6());
}

#[test]
fn bulk_with_segmentation_offload_is_captured_whole_and_once() {
    let (network, vm, pod) = pair();
    let capture = network.capture().unwrap();
    let bulk: Vec<u8> = (0..4_000_000_u32).map(|i| (i % 251) as u8).collect();
    send(&vm, &pod, "10.77.0.3:8080", &[&bulk]);
    let flows = capture.packets().unwrap().tcp_flows();
    assert_eq!(flows.len(), 1);
    assert!(flows[0].sent.bytes() == bulk, "{} bytes of {}", flows[0].sent.bytes().len(), bulk.len());
}

#[test]
fn datagrams_are_searched_too_and_loopback_is_not_the_network() {
    let (network, vm, pod) = pair();
    let capture = network.capture().unwrap();
    let socket = vm.enter(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.send_to(b"said on loopback", "127.0.0.1:9").unwrap();
    socket.send_to(b"said aloud", (pod.ipv4().unwrap(), 9)).unwrap();
    let received = pod.enter(|| UdpSocket::bind("10.77.0.3:9")).unwrap().unwrap();
    received.set_nonblocking(true).unwrap();
    outrigger_testkit::wait_for("the datagram", std::time::Duration::from_secs(5), || {
        let _ = socket.send_to(b"said aloud", "10.77.0.3:9");
        received.recv(&mut [0; 64]).is_ok()
    })
    .unwrap();
    let packets = capture.packets().unwrap();
    assert!(packets.find(b"said aloud").is_some());
    assert_eq!(packets.find(b"said on loopback"), None);
}

#[test]
fn a_pcap_file_is_readable() {
    let (network, vm, pod) = pair();
    let capture = network.capture().unwrap();
    send(&vm, &pod, "10.77.0.3:8080", &[b"ahoy"]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("switch.pcap");
    let packets = capture.packets().unwrap();
    packets.write_pcap(&path).unwrap();
    let file = std::fs::read(&path).unwrap();
    let total: usize = packets.frames.iter().map(|frame| frame.bytes.len() + 16).sum();
    assert_eq!(file.len(), 24 + total);
    assert_eq!(file[..4], 0xa1b2_c3d4_u32.to_le_bytes());
    assert_eq!(file[20..24], 1_u32.to_le_bytes());
}
