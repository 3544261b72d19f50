//! What a dying process tells its parent.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::pin::Pin;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use porth::abi::fault::{self, InstanceSlot, enter};
use porth::abi::{
    self, CallRequest, CallbackError, DocumentCall, HostFuture, LogLine, NewEndpoint, NewInstance, Question, Services,
};
use porth_abi::code;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::fixture::{self, Workshop, own_process};
use crate::support::process::InTime as _;

/// Lets a child do `deed` with this library; answers what it told and how it ended.
fn watch(library: &fixture::Library, deed: &str) -> (String, Output) {
    let workshop = Workshop::new();
    workshop.compile("libx.so", library);
    let (parent, child) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let output = own_process("border::fault::child")
        .env(DEED, deed)
        .env(DIRECTORY, workshop.directory())
        .stdin(child)
        .output_in_time();
    // Removes what the child left, which is not writable.
    drop(Workshop::at(workshop.directory()));
    (received(&parent), output)
}

/// All that was sent to a socket whose other end nobody uses any more; a process that is just being started for another
/// test may still have it open.
fn received(socket: &OwnedFd) -> String {
    let mut all = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        match rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::CONNRESET) => return all.join("\n"),
            Ok((_, len)) => all.push(String::from_utf8(bytes[..len].to_vec()).unwrap()),
            Err(error) => panic!("{error}"),
        }
    }
}

fn check_told(library: &fixture::Library, deed: &str, expected: Expect) {
    let (told, output) = watch(library, deed);
    let end = match output.status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("exit code {}", output.status.code().unwrap()),
    };
    expected.assert_eq(&format!("{told} {end}"));
}

fn init(statements: &'static str) -> fixture::Library {
    fixture::Library { init: statements, ..fixture::Library::default() }
}

#[test]
fn a_fault_in_a_library_names_library_and_instance() {
    check_told(
        &init("null_write()"),
        "init",
        expect![[
            r#"{"fault":{"signal":11,"library":"libx.so","instance":"plugin/x","instance_library":"libx.so"}} signal 11"#
        ]],
    );
    check_told(
        &init("raise(SIGBUS)"),
        "init",
        expect![[
            r#"{"fault":{"signal":7,"library":null,"instance":"plugin/x","instance_library":"libx.so"}} signal 7"#
        ]],
    );
    check_told(
        &init("raise(SIGTRAP)"),
        "init",
        expect![[
            r#"{"fault":{"signal":5,"library":null,"instance":"plugin/x","instance_library":"libx.so"}} signal 5"#
        ]],
    );
}

#[test]
fn a_fault_in_libc_names_the_instance_that_called_it() {
    check_told(
        &init("crash_in_libc()"),
        "init",
        expect![[
            r#"{"fault":{"signal":11,"library":null,"instance":"plugin/x","instance_library":"libx.so"}} signal 11"#
        ]],
    );
    check_told(
        &init("abort()"),
        "init",
        expect![[
            r#"{"fault":{"signal":6,"library":null,"instance":"plugin/x","instance_library":"libx.so"}} signal 6"#
        ]],
    );
}

#[test]
fn a_fault_in_a_library_s_own_thread_names_the_library() {
    check_told(
        &init("abort_in_thread()"),
        "init",
        expect![[r#"{"fault":{"signal":6,"library":"libx.so","instance":null,"instance_library":null}} signal 6"#]],
    );
}

#[test]
fn a_fault_before_there_is_an_instance_names_the_library() {
    let constructor = |constructor| fixture::Library { constructor, ..fixture::Library::default() };
    check_told(
        &constructor("abort()"),
        "init",
        expect![[r#"{"fault":{"signal":6,"library":"libx.so","instance":null,"instance_library":null}} signal 6"#]],
    );
    let load = |load| fixture::Library { load, ..fixture::Library::default() };
    check_told(
        &load("abort()"),
        "init",
        expect![[r#"{"fault":{"signal":6,"library":"libx.so","instance":null,"instance_library":null}} signal 6"#]],
    );
}

#[test]
fn a_library_is_blamed_for_what_it_does_to_another_s_instance() {
    check_told(
        &init("null_write()"),
        "init for another",
        expect![[
            r#"{"fault":{"signal":11,"library":"libx.so","instance":"plugin/y","instance_library":"liby.so"}} signal 11"#
        ]],
    );
}

#[test]
fn an_exit_that_nobody_asked_for_is_told() {
    check_told(
        &init("exit(0)"),
        "init",
        expect![[
            r#"{"fault":{"signal":0,"library":null,"instance":"plugin/x","instance_library":"libx.so"}} exit code 0"#
        ]],
    );
    check_told(
        &init("exit(7)"),
        "init in a thread of the host",
        expect![[
            r#"{"fault":{"signal":0,"library":null,"instance":"plugin/x","instance_library":"libx.so"}} exit code 7"#
        ]],
    );
    check_told(
        &init(""),
        "leave",
        expect![[r#"{"fault":{"signal":0,"library":null,"instance":null,"instance_library":null}} exit code 3"#]],
    );
}

#[test]
fn an_exit_that_is_intended_is_not() {
    check_told(&init(""), "leave as intended", expect![" exit code 4"]);
    check_told(&init(""), "leave at once", expect![" exit code 5"]);
}

#[test]
fn a_fault_of_the_host_names_nobody() {
    check_told(
        &init(""),
        "abort",
        expect![[r#"{"fault":{"signal":6,"library":null,"instance":null,"instance_library":null}} signal 6"#]],
    );
    check_told(
        &init(""),
        "abort in a thread",
        expect![[r#"{"fault":{"signal":6,"library":null,"instance":null,"instance_library":null}} signal 6"#]],
    );
}

#[test]
fn what_a_forked_process_does_is_its_own() {
    check_told(&init("if (fork() == 0) exit(0); wait(NULL)"), "init", expect![" exit code 0"]);
    check_told(&init("if (fork() == 0) null_write(); wait(NULL)"), "init", expect![" exit code 0"]);
}

#[test]
fn a_stack_overflow_is_told_and_std_still_says_so() {
    let overflow = init("char start = 1; overflow(&start)");
    check_told(
        &overflow,
        "init in a thread of the host",
        expect![[
            r#"{"fault":{"signal":11,"library":"libx.so","instance":"plugin/x","instance_library":"libx.so"}} signal 6"#
        ]],
    );
    let (_, output) = watch(&overflow, "init in a thread of the host");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("has overflowed its stack"), "{error}");
}

#[test]
fn of_two_faults_the_first_is_told() {
    check_told(
        &init("abort_in_thread()"),
        "init in four threads",
        expect![[r#"{"fault":{"signal":6,"library":"libx.so","instance":null,"instance_library":null}} signal 6"#]],
    );
}

/// The child's side; does nothing in a run of all tests.
#[test]
fn child() {
    let (Some(deed), Some(directory)) = (std::env::var_os(DEED), std::env::var_os(DIRECTORY)) else { return };
    fault::install(io::stdin()).unwrap();
    let workshop = Workshop::at(Path::new(&directory));
    let opened = workshop.open("libx.so").unwrap();
    let library = abi::Library::load(&opened, Arc::new(NoServices)).unwrap();
    let init = |slot| {
        let new = NewInstance { kind: "plugin", module: "fixture", name: "x", parameters: "{}", generation: 1, slot };
        drop(library.init(&new, Arc::new(NoServices)).unwrap());
    };
    let slot = InstanceSlot::register("plugin/x", "libx.so");
    match deed.to_str().unwrap() {
        "init" => init(slot),
        "init for another" => init(InstanceSlot::register("plugin/y", "liby.so")),
        "init in a thread of the host" => std::thread::scope(|scope| drop(scope.spawn(|| init(slot)))),
        "init in four threads" => std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| init(slot));
            }
        }),
        "abort" => std::process::abort(),
        "abort in a thread" => std::thread::scope(|scope| drop(scope.spawn(|| std::process::abort()))),
        "leave" => std::process::exit(3),
        "leave as intended" => {
            let _blamed = enter(slot);
            fault::exit_is_intended();
            std::process::exit(4);
        }
        "leave at once" => fault::exit_now(5),
        deed => panic!("{deed}"),
    }
    fault::exit_now(0);
}

struct NoServices;

impl Services for NoServices {
    fn log(&self, _: LogLine<'_>) {}

    fn metric_add(&self, _: &str, _: u32, _: &str) -> Result<u32, CallbackError> {
        closed()
    }

    fn metric_increment(&self, _: u32, _: &[(&str, &str)], _: f64) -> Result<(), CallbackError> {
        closed()
    }

    fn metric_observe(&self, _: u32, _: &[(&str, &str)], _: f64) -> Result<(), CallbackError> {
        closed()
    }

    fn add_endpoint(&self, _: NewEndpoint) -> Result<(), CallbackError> {
        closed()
    }

    fn remove_endpoint(&self, _: &str, _: &str) -> Result<(), CallbackError> {
        closed()
    }

    fn add_well_known(&self, _: NewEndpoint) -> Result<(), CallbackError> {
        closed()
    }

    fn check_session_valid(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn trigger_session_used(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn session_age(&self, _: Arc<CallRequest>, _: &str) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn schemes(&self, _: porth::abi::SchemeCall) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn timer(&self, _: Duration) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn documents(&self, _: DocumentCall) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn spawn(&self, _: Pin<Box<dyn Future<Output = ()> + Send>>) -> Result<(), CallbackError> {
        closed()
    }

    fn host_info(&self) -> String {
        "{}".to_owned()
    }

    fn external_url(&self) -> Result<String, CallbackError> {
        closed()
    }

    fn ask(&self, _: Question, _: &str) -> Result<HostFuture, CallbackError> {
        closed()
    }

    fn login_url(&self, _: &str) -> Result<String, CallbackError> {
        closed()
    }

    fn hash(&self, _: &[u8]) -> Result<String, CallbackError> {
        closed()
    }
}

fn closed<T>() -> Result<T, CallbackError> {
    Err(CallbackError::new(code::CLOSED, "nothing is open here"))
}

const DEED: &str = "PORTH_TEST_DEED";
const DIRECTORY: &str = "PORTH_TEST_DIRECTORY";
