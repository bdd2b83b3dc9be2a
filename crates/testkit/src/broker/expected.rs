//! What a run on Kafka has to give: what a replay of the same events gives.

use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{
    Alerts, Dataset, Deployment, Outgoing, Process, open_by_history, open_by_topic, wait_for,
};
use crate::cli;

/// Events, and the alerts that a replay of their file raises.
pub struct Expected {
    /// The events.
    pub dataset: Dataset,
    /// The alerts.
    pub alerts: Alerts,
}

impl Expected {
    /// Of the real events where they are there, else of the bundled fleet.
    ///
    /// # Panics
    /// The replay fails.
    pub fn real() -> &'static Self {
        static REAL: OnceLock<Expected> = OnceLock::new();
        REAL.get_or_init(|| {
            let dir = tempfile::tempdir().expect("a directory can be made");
            Self::of(Dataset::real_or_demo(dir.path()))
        })
    }

    /// Of the bundled fleet: every kind of event, every signal.
    ///
    /// # Panics
    /// The replay fails.
    pub fn fleet() -> &'static Self {
        static FLEET: OnceLock<Expected> = OnceLock::new();
        FLEET.get_or_init(|| {
            let dir = tempfile::tempdir().expect("a directory can be made");
            Self::of(Dataset::demo(dir.path()))
        })
    }

    /// Of any data set.
    ///
    /// # Panics
    /// The replay fails.
    pub fn of(dataset: Dataset) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let output = dir.path().join("alerts.ndjson");
        cli::run([
            "replay".as_ref(),
            "--input".as_ref(),
            dataset.path.as_os_str(),
            "--output".as_ref(),
            output.as_os_str(),
        ])
        .succeeded();
        Self {
            alerts: Alerts::of_replay(&output),
            dataset,
        }
    }

    /// The events, and behind them in every partition the clock, so that all
    /// stand at the same time when they are read.
    pub fn log(&self, partitions: u32) -> impl Iterator<Item = Outgoing> {
        let partitions = i32::try_from(partitions).expect("few partitions");
        let clocks = (0..partitions).map(|partition| Outgoing::clock(partition, self.dataset.last));
        self.dataset.events.iter().cloned().chain(clocks)
    }

    /// Looks at everything that a finished run of these processes left behind.
    ///
    /// # Panics
    /// Something differs from the replay, or does not fit together.
    #[track_caller]
    pub fn verify(&self, deployment: &Deployment, run: &str, processes: &[(&str, Value)]) {
        let history = deployment.read("churn.alerts.v1");
        Alerts::of_history(&history).expect_same_as(&self.alerts, run);
        let open = open_by_topic(&deployment.read("churn.alerts.current.v1"));
        assert_eq!(
            open,
            open_by_history(&history),
            "{run}: what is open, by topic and by history"
        );
        assert_eq!(
            deployment.read("churn.dead-letters.v1"),
            [],
            "{run}: dead letters"
        );
        verify_changelog(deployment, run, processes);
    }
}

/// The changelog alone brings the state back: a start on empty disks becomes
/// ready, which it does only if every digest is the committed one, and raises
/// nothing again.
#[track_caller]
fn verify_changelog(deployment: &Deployment, run: &str, processes: &[(&str, Value)]) {
    let before = deployment.group().progress();
    // Under the same names, so that the group waits for nobody.
    let running: Vec<Process> = processes
        .iter()
        .map(|(instance, settings)| {
            let mut settings = settings.clone();
            settings["state_dir"] = json!(deployment.dir().join(format!("empty-{instance}")));
            deployment.start(instance, &settings)
        })
        .collect();
    let total = |metric| {
        running
            .iter()
            .map(|process| process.metric(metric))
            .sum::<f64>()
    };
    wait_for("all partitions restored", || {
        let assigned = total("churnwatch_partitions_assigned") as usize;
        let ready = running
            .iter()
            .all(|process| process.get("/readyz").0 == 200);
        (assigned == before.len() && ready).then_some(())
    });
    assert!(
        total("churnwatch_restore_rows_total") > 0.0,
        "{run}: rows restored"
    );
    assert_eq!(total("churnwatch_alerts_total"), 0.0, "{run}: raised again");
    for process in running {
        let ended = process.stop();
        assert!(!ended.log.contains("rebuilding"), "{run}: {}", ended.log);
    }
    assert_eq!(
        deployment.group().progress(),
        before,
        "{run}: offsets moved"
    );
}
