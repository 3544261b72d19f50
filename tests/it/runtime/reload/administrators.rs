//! Eight administrators at once: whatever they do, it comes out as if they had done it one after the other.
//!
//! Every answer that an administrator gets says something about the state at some moment between question and answer.
//! [`has_serial_order`] looks for an order of all of them in which each answer is right (Wing and Gong, "Testing and
//! Verifying Concurrent Objects", 1993); the last of them are questions for the final state.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::scale::scaled;
use crate::support::server::{Reply, Server, Setup, wait_until};
use crate::support::until::Until;
use crate::support::versions::{FILE, compile, disguised};

const ADMINISTRATORS: u64 = 8;
/// How many operations each does until all of them stop for a moment.
const ROUND: usize = 10;
const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

/// What an administrator asked for, and what the answer was.
#[derive(Clone, Debug)]
struct Operation {
    what: What,
    status: u16,
    began: Duration,
    ended: Duration,
}

#[derive(Clone, Debug, PartialEq)]
enum What {
    Add(u64),
    Change(u64),
    Delete,
    Enable(bool),
    Reset,
    /// What was shown, if anything.
    Show(State),
}

/// The label and whether it is enabled; `None` when there is no instance.
type State = Option<(u64, bool)>;

/// The state after an operation in a state, if that fits its answer.
fn after(operation: &Operation, state: State) -> Option<State> {
    let exists = match operation.status {
        // Refused because of other changes: it says nothing.
        409 => return Some(state),
        200 => operation.what.is_change_of_one(),
        404 => false,
        // Nothing else is wrong with what is asked here but a name that is taken.
        400 if matches!(operation.what, What::Add(_)) => true,
        _ => return None,
    };
    if state.is_some() != exists {
        return None;
    }
    if operation.status != 200 {
        return Some(state);
    }
    match (&operation.what, state) {
        (What::Add(label), None) => Some(Some((*label, true))),
        (What::Change(label), Some((_, enabled))) => Some(Some((*label, enabled))),
        (What::Delete, Some(_)) => Some(None),
        (What::Enable(enabled), Some((label, _))) => Some(Some((label, *enabled))),
        (What::Reset, Some(_)) => Some(state),
        (What::Show(shown), Some(_)) => (*shown == state).then_some(state),
        _ => None,
    }
}

impl What {
    /// Whether it works on an instance that exists.
    fn is_change_of_one(&self) -> bool {
        !matches!(self, Self::Add(_))
    }
}

/// Whether the operations, ordered by their beginnings, could have happened one after the other: each somewhere between
/// its beginning and its end, each with the answer it got.
fn has_serial_order(operations: &[Operation]) -> bool {
    search(operations, 0, BTreeSet::new(), None, &mut HashSet::new())
}

/// All operations before `first` and those in `done` have happened.
fn search(
    operations: &[Operation],
    mut first: usize,
    mut done: BTreeSet<usize>,
    state: State,
    tried: &mut HashSet<(usize, BTreeSet<usize>, State)>,
) -> bool {
    while done.remove(&first) {
        first += 1;
    }
    if first == operations.len() {
        return true;
    }
    if !tried.insert((first, done.clone(), state)) {
        return false;
    }
    // The next to happen has begun before any other has ended.
    let mut ends = Duration::MAX;
    let open = operations.iter().enumerate().skip(first).filter(|(index, _)| !done.contains(index));
    for (_, operation) in open {
        if operation.began > ends {
            break;
        }
        ends = ends.min(operation.ended);
    }
    for (index, operation) in operations.iter().enumerate().skip(first) {
        if operation.began > ends {
            return false;
        }
        if done.contains(&index) {
            continue;
        }
        if let Some(next) = after(operation, state) {
            let mut done = done.clone();
            done.insert(index);
            if search(operations, first, done, next, tried) {
                return true;
            }
        }
    }
    false
}

#[test]
fn an_order_is_found_if_there_is_one() {
    let operation = |what, status, began, ended| Operation {
        what,
        status,
        began: Duration::from_millis(began),
        ended: Duration::from_millis(ended),
    };
    let add = operation(What::Add(1), 200, 0, 10);
    let too = operation(What::Add(2), 400, 5, 20);
    let shown = |label, enabled| operation(What::Show(Some((label, enabled))), 200, 30, 40);
    assert!(has_serial_order(&[add.clone(), too.clone(), shown(1, true)]));
    assert!(!has_serial_order(&[add.clone(), too.clone(), shown(2, true)]));
    assert!(!has_serial_order(&[add.clone(), shown(1, false)]));
    let (on, off) = (operation(What::Enable(true), 200, 12, 20), operation(What::Enable(false), 200, 15, 25));
    // At the same time either may be the last; one after the other not.
    for enabled in [true, false] {
        assert!(has_serial_order(&[add.clone(), on.clone(), off.clone(), shown(1, enabled)]));
    }
    let later = Operation { began: Duration::from_millis(21), ..off };
    assert!(!has_serial_order(&[add.clone(), on, later, shown(1, true)]));
    let gone = operation(What::Delete, 200, 11, 12);
    assert!(has_serial_order(&[add.clone(), gone.clone(), operation(What::Show(None), 404, 30, 40)]));
    assert!(!has_serial_order(&[add, gone, operation(What::Reset, 200, 13, 14)]));
}

/// Numbers that are the same in each run (Steele, Lea and Flood's splitmix).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

fn label(value: &Value) -> u64 {
    value["parameters"]["label"].as_u64().unwrap()
}

fn show(server: &Server, name: &str) -> (State, u16) {
    let reply = server.admin("GET", &format!("/api/mod/plugin/{name}"), None);
    let state = (reply.status == 200).then(|| {
        let instance = reply.json();
        (label(&instance), instance["enabled"].as_bool().unwrap())
    });
    (state, reply.status)
}

/// Does one thing to one instance.
fn operate(server: &Server, name: &str, dice: u64, new_label: u64) -> (What, u16) {
    let path = format!("/api/mod/plugin/{name}");
    let parameters = json!({"label": new_label});
    let act = |action: &str| server.admin("PUT", &format!("{path}/{action}"), None).status;
    match dice {
        0..15 => (What::Add(new_label), server.try_add("versions", name, &parameters).status),
        15..25 => (What::Delete, server.admin("DELETE", &path, None).status),
        25..45 => {
            let reply = server.admin("PUT", &path, Some(&json!({"parameters": parameters})));
            (What::Change(new_label), reply.status)
        }
        45..57 => (What::Enable(true), act("enable")),
        57..67 => (What::Enable(false), act("disable")),
        67..77 => (What::Reset, act("reset")),
        _ => {
            let (state, status) = show(server, name);
            (What::Show(state), status)
        }
    }
}

#[test]
fn eight_administrators_come_out_as_if_one_after_the_other() {
    let operations_each = scaled(60, 500);
    // Slow enough that others come in between.
    let versions = [1, 2].map(|version| compile(version, &["INIT=usleep(5000)"]));
    let setup = Setup::new().config("watch = false");
    setup.file(FILE, &versions[0]);
    let server = setup.start();
    let began = Instant::now();
    let histories: [Mutex<Vec<Operation>>; NAMES.len()] = Default::default();
    let (until, answered, reloaded) = (Until::new(), AtomicUsize::new(0), AtomicUsize::new(0));

    let administrate = |seed: u64, random: &mut Random, numbers: std::ops::Range<usize>| {
        for number in numbers {
            let (name, dice) = (random.below(NAMES.len() as u64) as usize, random.below(100));
            let unique = seed << 32 | number as u64;
            if dice >= 90 {
                let version = &versions[random.below(2) as usize];
                let reply = server.reload(&disguised(version, u32::try_from(seed).unwrap() << 16 | number as u32));
                assert!(matches!(reply.status, 200 | 409), "{reply:?}");
                reloaded.fetch_add(usize::from(reply.status == 200), Ordering::Relaxed);
                continue;
            }
            let start = began.elapsed();
            let (what, status) = operate(&server, NAMES[name], dice, unique);
            assert!(status < 500, "{status} for {what:?} of {}", NAMES[name]);
            let operation = Operation { what, status, began: start, ended: began.elapsed() };
            histories[name].lock().unwrap().push(operation);
        }
    };
    let administrate = &administrate;
    let ask = |number: usize| {
        while !until.is_over() {
            for name in NAMES.iter().cycle().skip(number).take(NAMES.len()) {
                let reply: Reply = server.get(&format!("/api/{name}/version"));
                let fine = ["200", "503 instance_not_running", "404 not_found"].contains(&&*reply.summary());
                assert!(fine, "{name} {reply:?}");
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let ask = &ask;
    let mut randoms: Vec<(u64, Random)> = (1..=ADMINISTRATORS).map(|seed| (seed, Random(seed))).collect();
    std::thread::scope(|scope| {
        let going = until.go();
        let asking: Vec<_> = (0..3).map(|number| scope.spawn(move || ask(number))).collect();
        for round in 0..operations_each / ROUND {
            std::thread::scope(|scope| {
                for (seed, random) in &mut randoms {
                    scope.spawn(move || administrate(*seed, random, round * ROUND..(round + 1) * ROUND));
                }
            });
            // Now all of them have stopped, and what is there must fit what was done.
            check_settled(&server, &histories, began);
        }
        drop(going);
        asking.into_iter().for_each(|thread| thread.join().unwrap());
    });
    println!(
        "{ADMINISTRATORS} administrators with {operations_each} operations each, {reloaded:?} of them reloads: {:.1?}, \
         and {answered:?} answers meanwhile",
        began.elapsed()
    );

    for (name, history) in NAMES.iter().zip(histories) {
        let mut history = history.into_inner().unwrap();
        history.sort_by_key(|operation| operation.began);
        assert!(has_serial_order(&history), "there is no order of what was done to {name}: {history:#?}");
    }
}

/// While nobody does anything: what the store says, the endpoints say too. It is another question in the history.
fn check_settled(server: &Server, histories: &[Mutex<Vec<Operation>>], began: Instant) {
    for (name, history) in NAMES.iter().zip(histories) {
        let start = began.elapsed();
        let (state, status) = show(server, name);
        let ended = began.elapsed();
        history.lock().unwrap().push(Operation { what: What::Show(state), status, began: start, ended });
        // At once, but for a process that is worn out and still takes connections.
        wait_until(&format!("{name} to be {state:?}"), || {
            let reply = server.get(&format!("/api/{name}/version"));
            match state {
                None => reply.summary() == "404 not_found",
                Some((_, false)) => reply.summary() == "503 instance_not_running",
                Some((shown, true)) => {
                    let present = &server.library(FILE)["generations"]["present"];
                    reply.status == 200 && label(&reply.json()) == shown && reply.json()["generation"] == *present
                }
            }
        });
    }
}
