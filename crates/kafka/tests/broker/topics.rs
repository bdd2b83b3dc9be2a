//! Making topics, and what is said of them.

use churnwatch_kafka::KafkaSettings;
use churnwatch_kafka::topics::{Outcome, TopicReport, TopicsError, check, create};

use crate::support::World;

fn outcomes(reports: &[TopicReport]) -> Vec<&Outcome> {
    reports.iter().map(|report| &report.outcome).collect()
}

#[test]
fn topics_are_made_once_and_pass_their_check() {
    let world = World::without_topics();
    let settings = &world.settings;
    let missing = check(settings, true).unwrap();
    assert_eq!(missing.errors.len(), 5, "{missing:?}");
    assert!(missing.errors[0].ends_with("it: create it with `churnwatch topics create`"));

    let dry = create(settings, 3, 1, true).unwrap();
    assert_eq!(outcomes(&dry), [&Outcome::WouldCreate; 5]);
    assert_eq!(
        check(settings, true).unwrap(),
        missing,
        "a dry run makes nothing"
    );

    let made = create(settings, 3, 1, false).unwrap();
    assert_eq!(outcomes(&made), [&Outcome::Created; 5]);
    let again = create(settings, 3, 1, false).unwrap();
    assert_eq!(outcomes(&again), [&Outcome::Exists; 5]);

    let report = check(settings, true).unwrap();
    assert_eq!(
        (
            report.errors.len(),
            report.warnings.len(),
            report.partitions
        ),
        (0, 0, 3),
        "{report:?}"
    );
    let strict = check(settings, false).unwrap();
    assert_eq!(strict.errors, Vec::<String>::new());
    // The broker's own topics, which have one copy as well, may be there by now.
    let ours = |warning: &&String| !warning.starts_with("topic __");
    assert_eq!(
        strict.warnings.iter().filter(ours).count(),
        10,
        "each of five topics has one copy and one in step: {strict:?}"
    );
}

#[test]
fn what_differs_is_reported_and_left_alone() {
    let world = World::new(2);
    let reports = create(&world.settings, 4, 1, false).unwrap();
    for report in &reports {
        let Outcome::Differs(differences) = &report.outcome else {
            panic!("{report:?}")
        };
        assert_eq!(differences.len(), 1, "{report:?}");
        assert_eq!(
            differences[0].to_string(),
            "partitions is 2 and should be 4"
        );
    }
    assert_eq!(check(&world.settings, true).unwrap().partitions, 2);
}

#[test]
fn a_refusal_of_the_broker_names_the_topic() {
    let world = World::without_topics();
    // There are not so many brokers; and not so many can even be asked for.
    for replication in [9_000, 30_000] {
        let error = create(&world.settings, 1, replication, true).unwrap_err();
        let events = world.settings.topics.events();
        assert!(
            matches!(&error, TopicsError::Refused { topic, .. } if *topic == events),
            "{error}"
        );
    }
}

#[test]
fn an_address_where_nobody_answers_is_named() {
    let settings = KafkaSettings {
        bootstrap_servers: "127.0.0.1:9".into(),
        instance_id: Some("a".into()),
        ..KafkaSettings::default()
    };
    let error = check(&settings, true).unwrap_err().to_string();
    assert!(
        error.starts_with("no broker answers at 127.0.0.1:9"),
        "{error}"
    );
}
