use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::command::missing;
use crate::wait::poll;
use crate::{Error, Host};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TAIL_LINES: usize = 20;

/// A program to start: its arguments, its environment (empty but for PATH), its user and its log.
#[derive(Clone, Debug)]
pub struct Program {
    path: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    user: Option<(u32, u32)>,
    groups: Vec<u32>,
    log: Option<PathBuf>,
    outlives_us: bool,
}

impl Program {
    pub fn new(path: impl AsRef<OsStr>) -> Self {
        let env = BTreeMap::from([("PATH".into(), PATH.into())]);
        let path = path.as_ref().to_owned();
        Self { path, args: Vec::new(), env, user: None, groups: Vec::new(), log: None, outlives_us: false }
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Runs as this user and group, and as a member of `groups`, instead of as the caller.
    pub fn user(mut self, uid: u32, gid: u32, groups: &[u32]) -> Self {
        self.user = Some((uid, gid));
        self.groups = groups.to_vec();
        self
    }

    /// Writes standard output and error to this file.
    pub fn log(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Lets the program live on after this one ends and after its [`Process`] is dropped.
    pub fn outlives_us(mut self) -> Self {
        self.outlives_us = true;
        self
    }

    fn name(&self) -> String {
        Path::new(&self.path).file_name().unwrap_or(&self.path).to_string_lossy().into_owned()
    }

    /// Each program in this chain execs the next, so that the child's pid is the program's own.
    fn command(&self, namespace: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace, "setpriv"]);
        if let Some((uid, gid)) = self.user {
            command.args([format!("--reuid={uid}"), format!("--regid={gid}")]);
            let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
            command.arg(match groups.is_empty() {
                true => "--clear-groups".to_owned(),
                false => format!("--groups={}", groups.join(",")),
            });
        }
        if !self.outlives_us {
            command.args(["--pdeathsig", "KILL"]);
        }
        command.arg("--").arg(&self.path).args(&self.args).env_clear().envs(&self.env).stdin(Stdio::null());
        command
    }
}

/// A running program; it is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    outlives_us: bool,
}

impl Process {
    pub(crate) fn spawn(program: &Program, host: &Host, folder: &Path) -> Result<Self, Error> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let path = Path::new(&program.path);
        if path.components().count() > 1 && !path.is_file() {
            return Err(Error::NoProgram { program: path.display().to_string() });
        }
        let name = format!("{}-{}", host.name(), program.name());
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let log = program.log.clone().unwrap_or_else(|| folder.join(format!("{name}-{number}.log")));
        let opened = File::options().create(true).append(true).open(&log).and_then(|f| Ok((f.try_clone()?, f)));
        let (out, err) = opened.map_err(Error::io(format!("cannot write the log {}", log.display())))?;
        let mut command = program.command(host.namespace());
        command.stdout(out).stderr(err);
        let child = spawn_from_lasting_thread(command).map_err(|e| missing("ip", e))?;
        Ok(Self { name, child, log, outlives_us: program.outlives_us })
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the program's output goes.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// What the program has written so far, standard output and error together.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Asks the program to end (SIGTERM).
    pub fn terminate(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGTERM)
    }

    /// Ends the program at once (SIGKILL).
    pub fn kill(&mut self) -> Result<(), Error> {
        self.signal(Signal::SIGKILL)
    }

    /// Sends a signal; a program that has already ended is left in peace.
    pub fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        // An unreaped child keeps its pid, so the signal cannot reach a stranger.
        if self.status().is_some() {
            return Ok(());
        }
        let sent = signal::kill(Pid::from_raw(self.child.id() as i32), signal);
        sent.map_err(|e| Error::Io { what: format!("cannot signal {}", self.name), source: io::Error::from(e) })
    }

    /// How the program ended, or `None` while it runs.
    pub fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for the program's end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus, Error> {
        let what = format!("{} to end", self.name);
        poll(timeout, || self.status()).ok_or_else(|| Error::TimedOut { what, waited: timeout, log: self.tail() })
    }

    /// Waits until `condition` holds; fails early if the program ends, and shows the end of its log.
    pub fn wait_for(
        &mut self,
        what: &str,
        timeout: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), Error> {
        let outcome = poll(timeout, || match condition(self) {
            true => Some(None),
            false => self.status().map(Some),
        });
        match outcome {
            Some(None) => Ok(()),
            Some(Some(status)) => Err(Error::Ended {
                program: self.name.clone(),
                status: describe(status),
                what: what.to_owned(),
                log: self.tail(),
            }),
            None => Err(Error::TimedOut { what: what.to_owned(), waited: timeout, log: self.tail() }),
        }
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let mut text = format!("; the log of {} ends:", self.name);
        for line in &lines[lines.len().saturating_sub(TAIL_LINES)..] {
            let _ = write!(text, "\n    {line}");
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.outlives_us {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

/// Starts the child from a thread that lives as long as we do: the kernel sends the parent-death signal when the
/// starting *thread* ends (prctl(2)), and callers may well be on short-lived ones.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (requests, queue) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, reply) in queue {
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, child) = mpsc::channel();
    spawner.send((command, reply)).map_err(io::Error::other)?;
    child.recv().map_err(io::Error::other)?
}
