//! What parent and child tell each other: JSON objects, one a packet, over the Unix socket that the parent gives the
//! child as its standard input.
//!
//! The fault handler writes [`ToParent::Fault`] by hand, because it may not allocate: keep the two alike.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::LISTENERS_MAX;

/// The largest message in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// How many descriptors a message may carry: listeners, and four others.
pub(super) const DESCRIPTORS_MAX: usize = LISTENERS_MAX + 4;

/// Which protocol this program speaks. A child that is told another in [`Start::protocol`] says [`ToParent::Failed`] and
/// leaves, so a new program that an older parent starts never half-understands it. Every protocol keeps those two, and
/// that descriptors come with the first message.
pub const PROTOCOL: u32 = 1;

/// What the parent says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToChild {
    /// The first message; descriptors come with it.
    Start(Start),
    /// Say which instances run, with [`ToParent::Running`]: another child is to take over.
    TellRunning {},
    /// Lead no more, and say [`ToParent::Resigned`] once no leader's work is under way.
    Resign {},
    /// Take over: catch up with what was changed since the start, and accept.
    TakeOver {},
    /// Lead from now on: nobody else does.
    Lead {},
    /// Accept nothing any more, say [`ToParent::Closed`] then, finish what is under way and exit.
    Drain {
        /// How long that may take, in milliseconds.
        deadline_ms: u64,
    },
}

/// What a child has to know before it opens a library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// [`PROTOCOL`] of the parent.
    pub protocol: u32,
    /// Which child of this server start it is; the first is 1.
    pub generation: u64,
    /// Whether it leads at once; otherwise [`ToChild::Lead`] comes later.
    pub lead: bool,
    /// Whether it takes over from a child that serves: it says [`ToParent::Initialised`] and accepts nothing before
    /// [`ToChild::TakeOver`], or [`ToParent::Failed`]. The names of what must run are in the last descriptor.
    pub take_over: bool,
    /// What crashed too often. The child stores it before it says [`ToParent::Ready`], which is when the parent
    /// forgets it.
    pub quarantine: Vec<Quarantined>,
    /// Libraries that ended a child while it opened them; this one must not.
    #[serde(default)]
    pub refused: Vec<RefusedLibrary>,
    /// Why no library may be opened at all, if so.
    pub without_plugins: Option<String>,
    /// How many children of this server start have crashed or hung.
    #[serde(default)]
    pub crashes: u64,
}

/// A library that ended a child before it was ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedLibrary {
    /// The file's name.
    pub library: String,
    /// What an administrator gets to read.
    pub reason: String,
}

/// An instance, or all instances of a library, that crashed too often: one of the two is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quarantined {
    /// The instance as `<kind>/<name>`.
    pub instance: Option<String>,
    /// The library's file name.
    pub library: Option<String>,
    /// What an administrator gets to read.
    pub reason: String,
}

/// What a child says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToParent {
    /// Every library is judged, the instances run, the listeners accept.
    Ready {},
    /// The child is to take over, and could: every library is judged, and every instance that must run does.
    Initialised {},
    /// The child is to take over, and cannot. It leaves.
    Failed {
        /// Why, in a sentence without an end.
        reason: String,
    },
    /// The instances that run; their names come as a JSON array in a file, because there may be many.
    Running {},
    /// The child does not lead any more.
    Resigned {},
    /// The child accepts no connection any more.
    Closed {},
    /// The child is worn out and asks for another.
    Recycle {
        /// Why, in a sentence without an end.
        reason: String,
    },
    /// The runtime still gets to its tasks; from the first of these on, silence is a hang.
    Alive {},
    /// An administrator lifted the quarantine of an instance: its crashes are forgotten.
    Lifted {
        /// The instance as `<kind>/<name>`.
        instance: String,
    },
    /// All workers are in the code of plug-ins and do not come back; so the silence that may follow has a name. No sign of
    /// life itself.
    Stuck {
        /// The instance that holds most of them, as `<kind>/<name>`.
        instance: String,
        /// The file name of its library.
        library: Option<String>,
    },
    /// The child is dying.
    Fault(Fault),
}

/// What the fault handler found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// The signal's number; 0 means that somebody called `exit` unasked.
    pub signal: i32,
    /// The file name of the library that the program counter was in.
    #[serde(default)]
    pub library: Option<String>,
    /// The instance that the thread was working for, as `<kind>/<name>`.
    #[serde(default)]
    pub instance: Option<String>,
    /// The file name of that instance's library.
    #[serde(default)]
    pub instance_library: Option<String>,
}

/// What [`receive`] found.
pub(super) enum Received<M> {
    Message(M, Vec<OwnedFd>),
    /// A packet that is no message; the text says why.
    Garbage(String),
    /// Nothing is there, and the caller did not want to wait.
    Nothing,
    /// The other side is gone.
    End,
}

/// Sends one message with descriptors. `flags` say whether to wait when the other side is slow.
///
/// # Errors
/// What the system says; `EMSGSIZE` for a message of more than [`MESSAGE_BYTES_MAX`].
pub(super) fn send<M: Serialize>(
    socket: impl AsFd,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> rustix::io::Result<()> {
    let text = serde_json::to_vec(message).map_err(|_| Errno::INVAL)?;
    if text.len() > MESSAGE_BYTES_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::MSGSIZE);
    }
    let flags = flags | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| rustix::net::sendmsg(&socket, &[IoSlice::new(&text)], &mut control, flags))?;
    Ok(())
}

/// Receives one message with its descriptors, which no program started later inherits.
///
/// # Errors
/// What the system says.
pub(super) fn receive<M: DeserializeOwned>(socket: impl AsFd, flags: RecvFlags) -> rustix::io::Result<Received<M>> {
    let mut text = vec![0; MESSAGE_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(&socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags)
    });
    let got = match got {
        Err(Errno::AGAIN) => return Ok(Received::Nothing),
        // Linux says so instead of end of file when the other side left messages of ours unread.
        Err(Errno::CONNRESET) => return Ok(Received::End),
        got => got?,
    };
    let descriptors = control.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let descriptors: Vec<OwnedFd> = descriptors.collect();
    if got.bytes == 0 {
        return Ok(Received::End);
    }
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Ok(Received::Garbage("it is too long".to_owned()));
    }
    text.truncate(got.bytes);
    Ok(match serde_json::from_slice(&text) {
        Ok(message) => Received::Message(message, descriptors),
        Err(error) => Received::Garbage(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn check(message: &impl Serialize, expected: Expect) {
        expected.assert_eq(&serde_json::to_string(message).unwrap());
    }

    #[test]
    fn messages_look_as_agreed() {
        let quarantined = Quarantined { instance: None, library: Some("libx.so".to_owned()), reason: "r".to_owned() };
        let start = Start { protocol: 1, generation: 2, lead: true, quarantine: vec![quarantined], ..Start::default() };
        check(
            &ToChild::Start(start),
            expect![[
                r#"{"start":{"protocol":1,"generation":2,"lead":true,"take_over":false,"quarantine":[{"instance":null,"library":"libx.so","reason":"r"}],"refused":[],"without_plugins":null,"crashes":0}}"#
            ]],
        );
        check(&ToChild::Drain { deadline_ms: 30_000 }, expect![[r#"{"drain":{"deadline_ms":30000}}"#]]);
        check(&ToChild::Lead {}, expect![[r#"{"lead":{}}"#]]);
        check(&ToParent::Ready {}, expect![[r#"{"ready":{}}"#]]);
        check(&ToParent::Failed { reason: "r".to_owned() }, expect![[r#"{"failed":{"reason":"r"}}"#]]);
        check(&ToParent::Recycle { reason: "r".to_owned() }, expect![[r#"{"recycle":{"reason":"r"}}"#]]);
        check(&ToParent::Alive {}, expect![[r#"{"alive":{}}"#]]);
        check(
            &ToParent::Lifted { instance: "plugin/hello".to_owned() },
            expect![[r#"{"lifted":{"instance":"plugin/hello"}}"#]],
        );
    }

    #[test]
    fn a_fault_may_leave_out_what_is_unknown() {
        let fault = Fault { signal: 11, library: None, instance: None, instance_library: None };
        assert_eq!(
            serde_json::from_str::<ToParent>(r#"{"fault":{"signal":11,"library":null}}"#).unwrap(),
            ToParent::Fault(fault)
        );
    }

    #[test]
    fn a_message_arrives_with_its_descriptors() {
        let (here, there) = pair();
        let file = tempfile::tempfile().unwrap();
        send(&here, &ToParent::Ready {}, &[file.as_fd(), file.as_fd()], SendFlags::empty()).unwrap();
        let Received::Message(ToParent::Ready {}, descriptors) = receive(&there, RecvFlags::empty()).unwrap() else {
            panic!("no message");
        };
        assert_eq!(descriptors.len(), 2);
        assert!(rustix::io::fcntl_getfd(&descriptors[0]).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[test]
    fn what_is_no_message_is_told_from_the_end() {
        let (here, there) = pair();
        assert!(matches!(receive::<ToParent>(&there, RecvFlags::DONTWAIT).unwrap(), Received::Nothing));
        rustix::net::send(&here, b"nonsense", SendFlags::empty()).unwrap();
        assert!(matches!(receive::<ToParent>(&there, RecvFlags::DONTWAIT).unwrap(), Received::Garbage(_)));
        drop(here);
        assert!(matches!(receive::<ToParent>(&there, RecvFlags::DONTWAIT).unwrap(), Received::End));
    }

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }
}
