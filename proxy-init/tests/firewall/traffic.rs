use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use outrigger_testkit::{Host, Program};
use socket2::SockRef;

use crate::machine::{MODES, Machines, machines, succeed};

const PATIENCE: Duration = Duration::from_secs(10);
const APP: u16 = 8080;

fn listen(host: &Host, address: &str) -> TcpListener {
    let listener = host.enter(|| TcpListener::bind(address)).unwrap().unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn connect(host: &Host, to: SocketAddr) -> TcpStream {
    host.enter(|| TcpStream::connect_timeout(&to, PATIENCE)).unwrap().unwrap()
}

/// The connection that waits at the listener, if one does; connecting has returned, so it would be there by now.
fn accepted(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept() {
        Ok((stream, _)) => Some(stream),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
        Err(e) => panic!("{e}"),
    }
}

fn original_destination(stream: &TcpStream) -> SocketAddr {
    let socket = SockRef::from(stream);
    let address = if stream.peer_addr().unwrap().ip().to_canonical().is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    address.unwrap().as_socket().unwrap()
}

fn addresses(host: &Host) -> [IpAddr; 2] {
    [host.ipv4().unwrap(), host.ipv6().unwrap()]
}

/// Everything that can take a connection in these tests, all listening.
struct Listeners {
    outbound: [TcpListener; 2],
    inbound: TcpListener,
    app_on_vm: TcpListener,
    app_on_peer: TcpListener,
}

impl Listeners {
    fn new(m: &Machines) -> Self {
        Self {
            outbound: [listen(&m.vm, "127.0.0.1:4140"), listen(&m.vm, "[::1]:4140")],
            inbound: listen(&m.vm, "[::]:4143"),
            app_on_vm: listen(&m.vm, "[::]:8080"),
            app_on_peer: listen(&m.peer, "[::]:8080"),
        }
    }
}

#[test]
fn outgoing_connections_reach_the_outbound_port_and_tell_their_true_target() {
    for mode in MODES {
        let m = machines();
        let l = Listeners::new(&m);
        succeed(&m.vm, &format!("-p 4143 -o 4140 -u 2102 --iptables-mode {mode}"));
        for (address, outbound) in addresses(&m.peer).into_iter().zip(&l.outbound) {
            let target = SocketAddr::new(address, APP);
            let _client = connect(&m.vm, target);
            assert_eq!(original_destination(&accepted(outbound).unwrap()), target, "{mode}");
            assert!(accepted(&l.app_on_peer).is_none(), "it went past the proxy");
        }
    }
}

#[test]
fn incoming_connections_reach_the_inbound_port_and_tell_their_true_target() {
    for mode in MODES {
        let m = machines();
        let l = Listeners::new(&m);
        succeed(&m.vm, &format!("-p 4143 -o 4140 -u 2102 --iptables-mode {mode}"));
        for address in addresses(&m.vm) {
            let target = SocketAddr::new(address, APP);
            let _client = connect(&m.peer, target);
            assert_eq!(original_destination(&accepted(&l.inbound).unwrap()), target, "{mode}");
            assert!(accepted(&l.app_on_vm).is_none(), "it went past the proxy");
        }
    }
}

/// Connects as a user and group of the host, and returns when it has.
fn connect_as(host: &Host, uid: u32, gid: u32, to: SocketAddr) {
    let script = format!("exec 3<>/dev/tcp/{}/{}", to.ip(), to.port());
    let mut process = host.spawn(&Program::new("bash").args(["-c", &script]).user(uid, gid, &[])).unwrap();
    assert!(process.wait(PATIENCE).unwrap().success(), "{}", process.log());
}

#[test]
fn the_proxys_own_connections_pass_by_user_root_included_or_by_group() {
    for mode in MODES {
        for (flags, uid, gid) in
            [("-u 2102", 2102, 9), ("-u 0", 0, 0), ("-g 2103", 9, 2103), ("-u 2102 -g 2103", 2102, 9)]
        {
            let m = machines();
            let l = Listeners::new(&m);
            succeed(&m.vm, &format!("-p 4143 -o 4140 {flags} --iptables-mode {mode}"));
            for (address, outbound) in addresses(&m.peer).into_iter().zip(&l.outbound) {
                let target = SocketAddr::new(address, APP);
                connect_as(&m.vm, uid, gid, target);
                assert!(
                    accepted(&l.app_on_peer).is_some(),
                    "{mode} {flags}: the proxy's own connection was redirected"
                );
                assert!(accepted(outbound).is_none());
                connect_as(&m.vm, 7, 7, target);
                assert!(accepted(outbound).is_some(), "{mode} {flags}: another user's connection passed");
                assert!(accepted(&l.app_on_peer).is_none());
            }
        }
    }
}

#[test]
fn ignored_ports_and_sources_pass_and_their_neighbours_do_not() {
    for mode in MODES {
        let m = machines();
        let l = Listeners::new(&m);
        let flags =
            "-p 4143 -o 4140 -u 2102 --inbound-ports-to-ignore 4190,8080-8081 --outbound-ports-to-ignore 8079-8080";
        succeed(&m.vm, &format!("{flags} --iptables-mode {mode}"));
        for address in addresses(&m.peer) {
            let _client = connect(&m.vm, SocketAddr::new(address, APP));
            assert!(accepted(&l.app_on_peer).is_some());
            let _client = connect(&m.vm, SocketAddr::new(address, 8081));
            assert!(l.outbound.iter().any(|outbound| accepted(outbound).is_some()));
        }
        for address in addresses(&m.vm) {
            let _client = connect(&m.peer, SocketAddr::new(address, APP));
            assert!(accepted(&l.app_on_vm).is_some());
            let _client = connect(&m.peer, SocketAddr::new(address, 8082));
            assert!(accepted(&l.inbound).is_some());
        }
        succeed(&m.vm, &format!("-p 4143 -o 4140 -u 2102 --subnets-to-ignore 10.77.0.3/32 --iptables-mode {mode}"));
        let [v4, v6] = addresses(&m.vm);
        let _client = connect(&m.peer, SocketAddr::new(v4, APP));
        assert!(accepted(&l.app_on_vm).is_some(), "its source is ignored");
        let _client = connect(&m.peer, SocketAddr::new(v6, APP));
        assert!(accepted(&l.inbound).is_some(), "its source is not");
    }
}

#[test]
fn only_listed_ports_are_redirected_when_there_is_a_list() {
    for mode in MODES {
        let m = machines();
        let l = Listeners::new(&m);
        succeed(&m.vm, &format!("-p 4143 -o 4140 -u 2102 -r 8082,8083 --iptables-mode {mode}"));
        for address in addresses(&m.vm) {
            let _client = connect(&m.peer, SocketAddr::new(address, APP));
            assert!(accepted(&l.app_on_vm).is_some());
            let _client = connect(&m.peer, SocketAddr::new(address, 8083));
            assert!(accepted(&l.inbound).is_some());
        }
    }
}

#[test]
fn loopback_is_left_alone() {
    for mode in MODES {
        let m = machines();
        let l = Listeners::new(&m);
        succeed(&m.vm, &format!("-p 4143 -o 4140 -u 2102 --iptables-mode {mode}"));
        let loopback = ["127.0.0.1", "::1"].map(|address| address.parse().unwrap());
        for address in loopback.into_iter().chain(addresses(&m.vm)) {
            let _client = connect(&m.vm, SocketAddr::new(address, APP));
            assert!(accepted(&l.app_on_vm).is_some(), "{mode} {address}");
        }
    }
}

#[test]
fn no_connection_slips_past_the_proxy_while_the_rules_are_replaced() {
    for mode in MODES {
        let m = machines();
        let l = Listeners::new(&m);
        let flags = format!("-p 4143 -o 4140 --iptables-mode {mode}");
        succeed(&m.vm, &format!("{flags} -u 2102"));
        let done = AtomicBool::new(false);
        let target = SocketAddr::new(m.peer.ipv4().unwrap(), APP);
        let connected = thread::scope(|scope| {
            let client = scope.spawn(|| {
                let connect_all = || {
                    let mut connected = 0;
                    while !done.load(Ordering::Acquire) {
                        let _client = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
                        assert!(accepted(&l.outbound[0]).is_some());
                        connected += 1;
                    }
                    connected
                };
                m.vm.enter(connect_all).unwrap()
            });
            for round in 0..20 {
                succeed(&m.vm, &format!("{flags} -u {}", 3000 + round));
            }
            done.store(true, Ordering::Release);
            client.join().unwrap()
        });
        assert!(connected > 100, "{connected} connections are too few to prove anything");
        assert!(accepted(&l.app_on_peer).is_none(), "{mode}: a connection went past the proxy");
    }
}
