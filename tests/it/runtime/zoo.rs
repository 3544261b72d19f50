//! A plug-in directory full of what an administrator should not have dropped there.

use std::os::unix::fs::{FileTypeExt as _, symlink};

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;

use crate::support::scale::scaled;
use crate::support::server::{Setup, built, wait_until};

#[test]
fn odd_files_are_refused_each_with_a_sentence_and_the_good_ones_serve() {
    let setup = Setup::new().libraries(&["hello"]);
    let at = |name: &str| setup.plugins().join(name);
    setup.file("libempty.so", b"");
    setup.file("libtext.so", b"not a library\n");
    std::fs::copy("/bin/true", at("libprogram.so")).unwrap();
    std::fs::create_dir(at("libdirectory.so")).unwrap();
    symlink("/nowhere/libx.so", at("libdangling.so")).unwrap();
    symlink("/dev/zero", at("libdevice.so")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("libfifo.so"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    assert!(std::fs::metadata(at("libfifo.so")).unwrap().file_type().is_fifo());
    std::fs::File::create(at("libsparse.so")).unwrap().set_len(10 << 30).unwrap();
    std::fs::copy(built("hello"), at("libother.so")).unwrap();
    let odd = ["empty", "text", "program", "directory", "dangling", "device", "fifo", "sparse", "other"].map(library);
    let server = setup.start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    assert_eq!(server.get("/api/good/hello/you").status, 200);
    let log = server.log();
    for file in odd {
        let refused = log.lines().find(|line| line.contains(&format!("refused: library `{file}` ")));
        println!("{}", refused.unwrap_or_else(|| panic!("{file} is not in the log")));
    }
}

fn library(name: &str) -> String {
    format!("lib{name}.so")
}

/// Truncated and damaged copies of a good library: the server starts, and none of them ends it.
#[test]
fn damaged_copies_of_a_good_library_harm_nobody() {
    let good = std::fs::read(built("hello")).unwrap();
    let mut random = Random::new(45);
    // One that passes its probe may still crash the server when it is loaded: quarantine, which is on by default, ends that.
    let setup = Setup::new().libraries(&["mock"]).config("");
    for number in 0..scaled(30, 300) {
        let mut copy = good.clone();
        if number % 2 == 0 {
            copy.truncate(random.below(good.len()));
        } else {
            // Most of a library is code that nobody runs here: damage is more telling in its first pages.
            for _ in 0..=random.below(16) {
                let place = random.below(if number % 4 == 1 { 4096 } else { good.len() });
                copy[place] ^= 1 << random.below(8);
            }
        }
        setup.file(&format!("lib{number:03}.so"), &copy);
    }
    let server = setup.start();
    wait_until("every file to be judged", || server.get("/health/ready").status == 200);
    server.add("mock", "good", &json!({}));
    assert_eq!(server.get("/health/live").status, 200);
    assert!(server.log().contains("refused: library"), "none was refused");
}

/// What passes the probe and then ends the server while it opens it ends one child, not every one after it.
#[test]
fn a_library_that_crashes_the_server_while_it_is_opened_is_refused_from_then_on() {
    let server = Setup::new().libraries(&["hello"]).c_library("two_faced").start();
    server.add("hello", "good", &json!({"greeting": "Hello"}));
    assert_eq!(server.get("/api/good/hello/you").status, 200);
    server.wait_for_log("library `libtwo_faced.so` is not opened: it ended the server while it was being opened");
    let body = json!({"module": "two-faced", "name": "x"});
    assert_eq!(server.admin("POST", "/api/mod/plugin/", Some(&body)).status, 400);
}

/// A seeded source of numbers, so that a failure can be had again.
struct Random(TestRng);

impl Random {
    fn new(seed: u8) -> Self {
        println!("seed {seed}");
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.next_u64()).unwrap() % end
    }
}
