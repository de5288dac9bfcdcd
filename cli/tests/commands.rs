//! What a user sees of the command line itself: help, versions, completion and refusals.

use std::process::{Command, Output};

fn outrigger(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outrigger")).args(args).env_remove("KEEP").output().expect("outrigger starts")
}

fn stdout(args: &[&str]) -> String {
    let output = outrigger(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The error of a command that must fail.
fn refusal(args: &[&str]) -> String {
    let output = outrigger(args);
    assert!(!output.status.success(), "{args:?} succeeded");
    assert!(output.stdout.is_empty(), "{args:?} wrote to stdout: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[test]
fn the_version_is_text_or_json() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(stdout(&["version"]), format!("client {version}\n"));
    let json: serde_json::Value = serde_json::from_str(&stdout(&["version", "-o", "json"])).unwrap();
    assert_eq!(json["client"], version);
}

#[test]
fn completion_scripts_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&["completion", shell]);
        for word in ["diagnostics", "endpoints", "demo", "identity"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let syntax =
        Command::new("bash").args(["-n", "-c", &stdout(&["completion", "bash"])]).status().expect("bash starts");
    assert!(syntax.success());
    assert!(refusal(&["completion", "tcsh"]).contains("bash, zsh, fish"));
}

#[test]
fn help_hides_what_runs_inside_the_demo() {
    let help = stdout(&["demo", "--help"]);
    assert!(help.contains("--keep") && help.contains("--act"));
    assert!(!help.contains("  app") && !help.contains("  load"), "{help}");
}

#[test]
fn bad_arguments_are_named_with_what_to_write() {
    for (args, says) in [
        (&["demo", "--act", "0"][..], "--act"),
        (&["demo", "--act", "10"], "1..=9"),
        (&["demo", "--spire-socket", "/s"], "--trust-anchors"),
        (&["demo", "--remove", "--act", "1"], "cannot be used with"),
        (&["diagnostics", "endpoints"], "AUTHORITY"),
        (&["diagnostics", "endpoints", "a:80", "--addr", "nowhere"], "host:port"),
        (&["diagnostics", "endpoints", "a:80", "--name", "x.y"], "--spire-socket"),
        (&["diagnostics", "policy", "web", "80"], "pod/NAME.NAMESPACE"),
        (&["diagnostics", "policy", "pod/web.ns", "0"], "1..=65535"),
        (&["identity", "serve", "--socket", "/s"], "--entries"),
        (&["demo", "load", "--url", "ftp://x"], "http://HOST"),
        (&["demo", "app", "--listen", "127.0.0.1:0", "--prestop", "5"], "like 20s"),
    ] {
        let refusal = refusal(args);
        assert!(refusal.contains(says), "{args:?} says: {refusal}");
    }
}

#[test]
fn a_controller_that_is_not_there_is_named() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().unwrap().port()
    };
    let addr = format!("127.0.0.1:{port}");
    let refusal = refusal(&["diagnostics", "endpoints", "web.ns.svc.cluster.local:80", "--addr", &addr]);
    assert!(refusal.contains(&addr) && refusal.contains("refused"), "{refusal}");
}

#[test]
fn a_controller_elsewhere_is_not_asked_in_plaintext() {
    let refusal = refusal(&["diagnostics", "profile", "10.0.0.1:80", "--addr", "192.0.2.1:8086"]);
    assert!(refusal.contains("plaintext"), "{refusal}");
}
