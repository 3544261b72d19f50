//! When is a session enough? The domain against a model that knows no counters: it looks through all that happened.

use std::collections::BTreeMap;

use porth::domain::login::{LoginSessions, Means, Origin, SchemeLimits, Schemes, Standing};
use porth::domain::scopes::{SchemeGroup, Scope};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::super::users::{user, users};
use crate::support::database::{NOW_MS, Store, on_both_engines};
use crate::support::scale::scaled;

on_both_engines!(the_domain_and_the_model_agree);

const NAMES: [&str; 3] = ["otp", "fido", "mail"];

#[derive(Clone, Copy, Debug)]
enum Event {
    Password,
    Scheme(usize),
    Spend,
}

/// A scope as the model reads it, and what happens to a session.
#[derive(Clone, Debug)]
struct Case {
    password_required: bool,
    password_max_age_s: i64,
    /// Of each group: how many, of which schemes.
    groups: Vec<(u32, Vec<usize>)>,
    /// Of each scheme: how long and how often a proof counts; `None` for a scheme that is not there.
    limits: [Option<(i64, i64)>; 3],
    /// With the milliseconds since the event before.
    events: Vec<(i64, Event)>,
}

fn cases() -> impl Strategy<Value = Case> {
    let group = proptest::sample::subsequence(vec![0, 1, 2], 1..=3)
        .prop_flat_map(|schemes| (1..=u32::try_from(schemes.len()).unwrap(), Just(schemes)));
    let limit = proptest::option::weighted(0.9, (0..4_i64, 0..4_i64));
    let event = prop_oneof![Just(Event::Password), (0..3_usize).prop_map(Event::Scheme), Just(Event::Spend)];
    // Whole seconds often, so that ages are exactly what is allowed.
    let pause = prop_oneof![Just(0), Just(1_000), 0..2_500_i64];
    let groups = proptest::collection::vec(group, 0..3);
    let events = proptest::collection::vec((pause, event), 1..20);
    (any::<bool>(), 0..4_i64, groups, [limit.clone(), limit.clone(), limit], events).prop_map(
        |(password_required, password_max_age_s, groups, limits, events)| Case {
            password_required,
            password_max_age_s,
            groups,
            limits,
            events,
        },
    )
}

/// The model: what the events up to `end` amount to at a time.
struct Model<'a> {
    case: &'a Case,
    times: Vec<i64>,
}

impl Model<'_> {
    fn last(&self, end: usize, is: impl Fn(Event) -> bool) -> Option<usize> {
        (0..end).rev().find(|at| is(self.case.events[*at].1))
    }

    fn scheme_counts(&self, scheme: usize, end: usize, now: i64) -> bool {
        let Some((seconds, uses)) = self.case.limits[scheme] else { return false };
        let Some(proved) = self.last(end, |event| matches!(event, Event::Scheme(other) if other == scheme)) else {
            return false;
        };
        let in_a_group = self.case.groups.iter().any(|(_, schemes)| schemes.contains(&scheme));
        let spent = (proved..end).filter(|at| {
            let (event, then) = (self.case.events[*at].1, self.times[*at]);
            let spends = matches!(event, Event::Spend) && in_a_group && self.enough(*at, then);
            spends && self.scheme_counts(scheme, *at, then)
        });
        (seconds == 0 || now < self.times[proved] + seconds * 1_000)
            && (uses == 0 || i64::try_from(spent.count()).unwrap() < uses)
    }

    fn enough(&self, end: usize, now: i64) -> bool {
        let proved_something = self.last(end, |event| !matches!(event, Event::Spend)).is_some();
        let password = self.last(end, |event| matches!(event, Event::Password)).is_some_and(|at| {
            self.case.password_max_age_s == 0 || now < self.times[at] + self.case.password_max_age_s * 1_000
        });
        let missing = self.case.groups.iter().filter(|(required, schemes)| {
            let counting = schemes.iter().filter(|scheme| self.scheme_counts(**scheme, end, now)).count();
            counting < *required as usize
        });
        proved_something && (password || !self.case.password_required) && missing.count() == 0
    }
}

/// The same, as the domain is told it.
fn told(case: &Case) -> (Scope, Schemes) {
    let group = |(number, (required, schemes)): (usize, &(u32, Vec<usize>))| {
        let schemes = schemes.iter().map(|scheme| NAMES[*scheme].to_owned()).collect();
        (number.to_string(), SchemeGroup { required: *required, schemes })
    };
    let scope = Scope {
        name: "asked".to_owned(),
        display_name: String::new(),
        description: String::new(),
        password_required: case.password_required,
        password_max_age_s: case.password_max_age_s,
        groups: case.groups.iter().enumerate().map(group).collect::<BTreeMap<_, _>>(),
    };
    let limits = NAMES.iter().zip(case.limits).filter_map(|(name, limits)| {
        let (expiration_s, use_max) = limits?;
        Some(((*name).to_owned(), SchemeLimits { expiration_s, use_max }))
    });
    (scope, limits.collect())
}

async fn check(sessions: &LoginSessions, user_id: &str, case: &Case) {
    let (scope, schemes) = told(case);
    let mut now = NOW_MS;
    let times = case.events.iter().map(|(pause, _)| {
        now += pause;
        now
    });
    let model = Model { case, times: times.collect() };
    // Somebody must have begun the session, so a case without a proof has none; its spending is skipped.
    let (mut cookie, mut session) = (None, String::new());
    for (at, (_, event)) in case.events.iter().enumerate() {
        let now = model.times[at];
        let means = match event {
            Event::Password => Means::Password,
            Event::Scheme(scheme) => Means::Scheme(NAMES[*scheme]),
            Event::Spend => {
                let expected = model.enough(at, now);
                let asked = (vec![scope.clone()], schemes.clone());
                let spent = sessions.spend(&session, user_id, asked.0, asked.1, now).await.unwrap();
                assert_eq!(spent, expected, "event {at} of {case:?}");
                continue;
            }
        };
        let new = sessions.prove(cookie.as_deref(), user_id, means, Origin::default(), now).await.unwrap();
        session = sessions.find(&new, now).await.unwrap().unwrap().id;
        cookie = Some(new);
        let proofs = sessions.proofs(&session, user_id).await.unwrap();
        let standing = Standing::of(&scope, &proofs, &schemes, now);
        assert_eq!(standing.enough, model.enough(at + 1, now), "after event {at} of {case:?}");
        for (scheme, proved) in standing.groups.into_values().flatten() {
            let number = NAMES.iter().position(|name| *name == scheme).unwrap();
            assert_eq!(proved, model.scheme_counts(number, at + 1, now), "{scheme} after event {at} of {case:?}");
        }
    }
}

async fn the_domain_and_the_model_agree(store: &Store) {
    let users = users(store).await;
    let id = users.add(user("anna"), NOW_MS).await.unwrap();
    let sessions = LoginSessions::new(store.db.clone(), i64::from(u32::MAX));
    let config =
        Config { cases: u32::try_from(scaled(48, 2_000)).unwrap(), failure_persistence: None, ..Config::default() };
    let checked = TestRunner::new(config).run(&cases(), |case| {
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(check(&sessions, &id, &case)));
        Ok(())
    });
    checked.unwrap();
}
