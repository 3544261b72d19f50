//! The log as a whole: its form and filter by the configuration file, the environment, and SIGHUP.

use serde_json::Value;

use crate::support::server::{Server, Setup, wait_until};

/// How many whole lines of the log are JSON, and how many are not.
fn lines(server: &Server) -> [usize; 2] {
    let log = server.log();
    let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let is_json = |line: &&str| serde_json::from_str::<Value>(line).is_ok_and(|line| line["message"].is_string());
    let json = whole.lines().filter(is_json).count();
    [json, whole.lines().count() - json]
}

#[test]
fn sighup_takes_over_what_the_file_says_of_the_log() {
    let server = Setup::new().start();
    wait_until("a first line", || lines(&server)[1] > 0);
    assert_eq!(lines(&server)[0], 0, "{}", server.log());
    std::fs::write(server.config_path(), "[log]\nformat = 'json'\naccess = true\n").unwrap();
    server.signal(rustix::process::Signal::HUP);
    // Both the new child and, from then on, the parent.
    wait_until("lines in JSON of the parent", || server.log().contains(r#""message":"child 1 has finished""#));
    server.get("/config");
    wait_until("a line for the request", || server.log().contains(r#""message":"GET /config""#));
    std::fs::write(server.config_path(), "[log]\nfilter = 'no = such'\n").unwrap();
    server.signal(rustix::process::Signal::HUP);
    wait_until("a refusal", || server.log().contains("`log.filter` is `no = such`; it must be a level or a list"));
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = "[log]\nformat = 'text'\nfilter = 'off'\n";
    let server = Setup::new().config(config).start();
    server.get("/config");
    assert_eq!(lines(&server), [0, 0], "{}", server.log());
    drop(server);
    let environment = [("PORTH_LOG", "porth::supervisor=info"), ("PORTH_LOG_FORMAT", "json")];
    let server = Setup::new().config(config).environment(&environment).start();
    wait_until("a line of the parent", || server.log().contains(r#""target":"porth::supervisor""#));
    assert_eq!(lines(&server)[1], 0, "{}", server.log());
}
