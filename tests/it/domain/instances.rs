//! Records of instances.

use std::sync::Arc;

use porth::config::DeclaredInstance;
use porth::domain::instances::{
    AddError, ChangeError, DeclareError, InstanceChange, InstanceRecord, Instances, NameError, NewInstance, Settings,
};
use serde_json::{Map, Value, json};

use crate::support::database::{NOW_MS, Store, on_both_engines};

on_both_engines!(
    an_instance_comes_back_as_it_was_added,
    one_of_sixteen_gets_a_name,
    impossible_names_leave_nothing,
    instances_are_listed_by_name,
    a_change_leaves_the_rest,
    what_is_unknown_cannot_be_changed,
    a_name_that_is_given_anew_has_another_id,
    declarations_come_and_go,
    a_declaration_keeps_what_was_decided_at_run_time,
    wrong_declarations_change_nothing,
    a_damaged_record_is_named,
);

/// No instances, not even those that are there from the start.
fn instances(store: &Store) -> Instances {
    store.execute("DELETE FROM instance");
    Instances::new(store.db.clone())
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn new(name: &str) -> NewInstance {
    NewInstance {
        kind: "plugin".into(),
        module: "hello".into(),
        name: name.into(),
        display_name: "Hello, wörld".into(),
        parameters: object(json!({"greeting": "Hi\0", "list": [1, 2.5, null]})),
        enabled: true,
        grants: Some(vec!["sessions".into()]),
        allow_public: true,
        settings: Settings { use_max: 2, ..Settings::default() },
    }
}

fn declared(name: &str, module: &str) -> DeclaredInstance {
    DeclaredInstance {
        kind: "plugin".into(),
        module: module.into(),
        name: name.into(),
        display_name: String::new(),
        parameters: Map::new(),
        grants: None,
        allow_public: false,
        settings: Map::new(),
    }
}

async fn get(instances: &Instances, name: &str) -> InstanceRecord {
    instances.get("plugin", name).await.unwrap().unwrap()
}

async fn an_instance_comes_back_as_it_was_added(store: &Store) {
    let instances = instances(store);
    let added = instances.add(new("a"), NOW_MS).await.unwrap();
    assert_eq!(added.id.len(), 36);
    assert_eq!(added.created_at_ms, NOW_MS);
    assert!(!added.declared && added.quarantine.is_none());
    assert_eq!(get(&instances, "a").await, added);

    let plain = NewInstance { grants: None, parameters: Map::new(), enabled: false, ..new("b") };
    let added = instances.add(plain, NOW_MS).await.unwrap();
    assert_eq!(added.grants, None);
    assert_eq!(get(&instances, "b").await, added);
    assert_eq!(instances.get("scheme", "a").await.unwrap(), None);
}

async fn one_of_sixteen_gets_a_name(store: &Store) {
    let instances = instances(store);
    let barrier = Arc::new(tokio::sync::Barrier::new(16));
    let adding = (0..16).map(|_| {
        let (instances, barrier) = (instances.clone(), Arc::clone(&barrier));
        tokio::spawn(async move {
            barrier.wait().await;
            instances.add(new("a"), NOW_MS).await
        })
    });
    let mut winners = Vec::new();
    for adding in adding.collect::<Vec<_>>() {
        match adding.await.unwrap() {
            Ok(record) => winners.push(record),
            Err(AddError::NameTaken { kind, name }) => assert_eq!((&*kind, &*name), ("plugin", "a")),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(winners, instances.list(None).await.unwrap());
    assert_eq!(winners.len(), 1);
    // The same name of another kind is another instance.
    instances.add(NewInstance { kind: "scheme".into(), ..new("a") }, NOW_MS).await.unwrap();
}

async fn impossible_names_leave_nothing(store: &Store) {
    let instances = instances(store);
    let error = instances.add(new("a/b"), NOW_MS).await.unwrap_err();
    assert!(matches!(error, AddError::Name(NameError::Character { found: '/' })), "{error}");
    let error = instances.add(NewInstance { display_name: "a\0".into(), ..new("a") }, NOW_MS).await.unwrap_err();
    assert!(matches!(error, AddError::Name(NameError::DisplayControl { .. })), "{error}");
    assert!(instances.list(None).await.unwrap().is_empty());
}

async fn instances_are_listed_by_name(store: &Store) {
    let instances = instances(store);
    // The order of bytes, not that of a language, in which `_` and `-` count little.
    for name in ["ab", "a_c", "a-d", "a1", "b"] {
        instances.add(new(name), NOW_MS).await.unwrap();
    }
    instances.add(NewInstance { kind: "scheme".into(), ..new("a") }, NOW_MS).await.unwrap();
    let names = |records: Vec<InstanceRecord>| records.into_iter().map(|record| record.name).collect::<Vec<_>>();
    assert_eq!(names(instances.list(Some("plugin")).await.unwrap()), ["a-d", "a1", "a_c", "ab", "b"]);
    assert_eq!(names(instances.list(None).await.unwrap()), ["a-d", "a1", "a_c", "ab", "b", "a"]);
    assert!(instances.list(Some("user")).await.unwrap().is_empty());
}

async fn a_change_leaves_the_rest(store: &Store) {
    let instances = instances(store);
    let added = instances.add(new("a"), NOW_MS).await.unwrap();
    instances.set_enabled("plugin", "a", false, NOW_MS + 1).await.unwrap();
    instances.set_quarantine("plugin", "a", Some("crashed three times"), NOW_MS + 2).await.unwrap();
    let change = InstanceChange {
        display_name: "Other".into(),
        parameters: object(json!({"greeting": "Hello"})),
        grants: None,
        allow_public: false,
        settings: Settings { order_rank: 3, ..Settings::default() },
    };
    instances.replace("plugin", "a", change, NOW_MS + 3).await.unwrap();
    let expected = InstanceRecord {
        display_name: "Other".into(),
        parameters: object(json!({"greeting": "Hello"})),
        enabled: false,
        grants: None,
        allow_public: false,
        quarantine: Some("crashed three times".into()),
        settings: Settings { order_rank: 3, ..Settings::default() },
        updated_at_ms: NOW_MS + 3,
        ..added
    };
    assert_eq!(get(&instances, "a").await, expected);

    instances.set_quarantine("plugin", "a", None, NOW_MS + 4).await.unwrap();
    instances.set_enabled("plugin", "a", true, NOW_MS + 5).await.unwrap();
    let expected = InstanceRecord { quarantine: None, enabled: true, updated_at_ms: NOW_MS + 5, ..expected };
    assert_eq!(get(&instances, "a").await, expected);
}

async fn what_is_unknown_cannot_be_changed(store: &Store) {
    let instances = instances(store);
    instances.add(new("a"), NOW_MS).await.unwrap();
    let change = InstanceChange {
        display_name: String::new(),
        parameters: Map::new(),
        grants: None,
        allow_public: false,
        settings: Settings::default(),
    };
    for (kind, name) in [("plugin", "b"), ("scheme", "a"), ("plugin", "A")] {
        let answers = [
            instances.replace(kind, name, change.clone(), NOW_MS).await,
            instances.set_enabled(kind, name, false, NOW_MS).await,
            instances.set_quarantine(kind, name, Some("x"), NOW_MS).await,
            instances.delete(kind, name).await,
        ];
        for answer in answers {
            let error = answer.unwrap_err();
            assert!(matches!(error, ChangeError::Unknown { .. }), "{error}");
            assert_eq!(error.to_string(), format!("there is no instance `{kind}/{name}`"));
        }
    }
}

async fn a_name_that_is_given_anew_has_another_id(store: &Store) {
    let instances = instances(store);
    let first = instances.add(new("a"), NOW_MS).await.unwrap();
    instances.delete("plugin", "a").await.unwrap();
    assert_eq!(instances.get("plugin", "a").await.unwrap(), None);
    let second = instances.add(new("a"), NOW_MS).await.unwrap();
    assert_ne!(first.id, second.id);
}

async fn declarations_come_and_go(store: &Store) {
    let instances = instances(store);
    let ordinary = instances.add(new("ordinary"), NOW_MS).await.unwrap();
    let adopted = instances.add(NewInstance { enabled: false, ..new("adopted") }, NOW_MS).await.unwrap();

    let both = [declared("hello", "hello"), declared("adopted", "hello")];
    instances.declare(&both, NOW_MS + 1).await.unwrap();
    let hello = get(&instances, "hello").await;
    assert!(hello.declared && hello.enabled);
    let record = get(&instances, "adopted").await;
    assert!(record.declared && record.enabled && record.parameters.is_empty());
    assert_eq!(record.id, adopted.id);
    assert_eq!(get(&instances, "ordinary").await, ordinary);

    // The same once more changes nothing, not even the time.
    instances.declare(&both, NOW_MS + 2).await.unwrap();
    assert_eq!(get(&instances, "hello").await, hello);

    instances.declare(&both[1..], NOW_MS + 3).await.unwrap();
    let settings = Settings { orphan: true, ..hello.settings.clone() };
    let expected =
        InstanceRecord { declared: false, enabled: false, settings, updated_at_ms: NOW_MS + 3, ..hello.clone() };
    assert_eq!(get(&instances, "hello").await, expected);

    instances.declare(&both, NOW_MS + 4).await.unwrap();
    assert!(!get(&instances, "hello").await.settings.orphan);
    assert_eq!(get(&instances, "hello").await, InstanceRecord { updated_at_ms: NOW_MS + 4, ..hello });
}

async fn a_declaration_keeps_what_was_decided_at_run_time(store: &Store) {
    let instances = instances(store);
    instances.declare(&[declared("hello", "hello")], NOW_MS).await.unwrap();
    instances.set_enabled("plugin", "hello", false, NOW_MS).await.unwrap();
    instances.set_quarantine("plugin", "hello", Some("crashed"), NOW_MS).await.unwrap();
    let changed = DeclaredInstance { parameters: object(json!({"greeting": "Hi"})), ..declared("hello", "hello") };
    instances.declare(&[changed], NOW_MS + 1).await.unwrap();
    let record = get(&instances, "hello").await;
    assert_eq!(record.parameters, object(json!({"greeting": "Hi"})));
    assert!(!record.enabled);
    assert_eq!(record.quarantine.as_deref(), Some("crashed"));
}

async fn wrong_declarations_change_nothing(store: &Store) {
    let instances = instances(store);
    let before = instances.add(new("a"), NOW_MS).await.unwrap();

    let error = instances.declare(&[declared("b", "hello"), declared("a", "other")], NOW_MS).await.unwrap_err();
    assert!(matches!(error, DeclareError::OtherModule { .. }), "{error}");
    let error = instances.declare(&[declared("b", "hello"), declared("b", "other")], NOW_MS).await.unwrap_err();
    assert_eq!(error.to_string(), "the configuration declares the instance `plugin/b` twice");
    let error = instances.declare(&[declared("b", "hello"), declared("mod", "hello")], NOW_MS).await.unwrap_err();
    assert!(error.to_string().contains("`plugin/mod`: the name `mod` of an instance is reserved"), "{error}");

    let scheme = |settings: Value| DeclaredInstance {
        kind: "scheme".into(),
        settings: object(settings),
        ..declared("code", "mock")
    };
    let error = instances.declare(&[scheme(json!({"order_rank": 1}))], NOW_MS).await.unwrap_err();
    assert!(error.to_string().ends_with("`scheme/code`: order_rank: the kind scheme has no such setting"), "{error}");
    let error = instances.declare(&[scheme(json!({"max_use": -1}))], NOW_MS).await.unwrap_err();
    assert!(matches!(error, DeclareError::Settings { .. }), "{error}");

    assert_eq!(instances.list(None).await.unwrap(), [before]);
    for use_max in [1, 2] {
        instances.declare(&[scheme(json!({"max_use": use_max}))], NOW_MS).await.unwrap();
        let stored = instances.get("scheme", "code").await.unwrap().unwrap();
        assert_eq!(stored.settings, Settings { use_max, ..Settings::default() });
    }
}

async fn a_damaged_record_is_named(store: &Store) {
    let instances = instances(store);
    instances.add(new("a"), NOW_MS).await.unwrap();
    store.execute("UPDATE instance SET parameters = '[]'");
    let error = instances.list(None).await.unwrap_err().to_string();
    assert!(error.starts_with("the instance `plugin/a` is stored damaged: "), "{error}");
}
