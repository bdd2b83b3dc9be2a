//! Told to stop.

use std::time::Duration;

use churnwatch_core::Rules;
use churnwatch_testkit::{
    broker::{Deployment, Expected},
    world::World,
};

use crate::feed::{Feed, PARTITIONS, PIECES, busy};

#[test]
fn stopped_under_load_it_ends_in_time_and_has_nothing_to_restore_afterwards() {
    let deployment = Deployment::new("stopped", PARTITIONS);
    let mut feed = Feed::new(&deployment);
    for _ in 1..PIECES {
        let mut process = deployment.start("a", &busy());
        process.wait_until_ready();
        assert_eq!(
            process.metric("churnwatch_restore_rows_total"),
            0.0,
            "{}",
            process.last_said()
        );
        feed.feed_and_wait_for_the_middle(&mut [&mut process]);
        let ended = process.stop();
        assert!(
            ended.took < Duration::from_secs(10),
            "it took {:?}",
            ended.took
        );
        feed.interrupted();
    }
    let mut process = deployment.start("a", &busy());
    feed.feed_the_rest(PIECES - 1);
    deployment.wait_until_read(&mut [&mut process]);
    process.stop();
    World::check_committed(&deployment, &Rules::default(), "stopped");
    Expected::real().verify(&deployment, "stopped", &[("a", busy())]);
}
