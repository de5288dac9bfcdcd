//! Redirects a workload's traffic to the proxy, with the flags of Linkerd's proxy-init.

mod args;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;
use outrigger_proxy_init::{Error, enter_namespace, set_close_wait_timeout, simulate};

use crate::args::{Args, LogFormat};

/// EX_USAGE of sysexits(3).
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if !args.uninstall
        && let Err(error) = args.options().validate()
    {
        eprintln!("error: {error}");
        return ExitCode::from(USAGE);
    }
    log(&args);
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(event = "proxy_init.failed", "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    if args.simulate {
        print!("{}", simulate(&args.options(), args.ipv6 != Some(false)));
        return Ok(());
    }
    if let Some(namespace) = args.netns.as_deref().filter(|namespace| !namespace.is_empty()) {
        enter_namespace(namespace)?;
    }
    if args.uninstall {
        return args.firewall().uninstall();
    }
    let options = args.options();
    if options.proxy_uid.is_none() && options.proxy_gid.is_none() {
        tracing::warn!(
            event = "proxy_init.no_owner",
            "without --proxy-uid the proxy's own traffic comes back to it, for ever"
        );
    }
    args.firewall().install(&options)?;
    match args.timeout_close_wait_secs {
        0 => Ok(()),
        seconds => set_close_wait_timeout(seconds),
    }
}

fn log(args: &Args) {
    let subscriber =
        tracing_subscriber::fmt().with_max_level(args.log_level).with_writer(io::stderr).with_target(false);
    match args.log_format {
        LogFormat::Plain => subscriber.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
