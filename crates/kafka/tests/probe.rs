#![allow(clippy::unwrap_used, dead_code, unused)]
#[path = "broker/support.rs"]
mod support;
use support::*;
use churnwatch_pipeline::sink::*; use churnwatch_pipeline::source::*;
use std::time::*;
const P: PartitionId = PartitionId(0);
#[test]
fn latency() {
    let world = World::new(1);
    world.produce(100);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    let seen = read(&mut source, 100);
    let mut times = vec![];
    for i in 1..=200u64 {
        std::thread::sleep(Duration::from_millis(60)); let e = epoch(P, i, 1 + (i as i64)/3);
        let t = Instant::now(); sink.commit(&e).unwrap(); times.push(t.elapsed());
    }
    times.sort(); println!("commit p50 {:?} p90 {:?} p99 {:?} max {:?}", times[100], times[180], times[198], times[199]);
    // end to end: produce one, read, commit
    let mut events = world.events(); let mut e2e = vec![];
    let mut n = 100i64;
    for i in 0..100u64 {
        let t = Instant::now();
        events.send("a", b"x").unwrap(); events.flush(LIMIT).unwrap();
        let s = read(&mut source, 1); n = s[0].offset + 1;
        let t2 = t.elapsed();
        sink.commit(&epoch(P, 300 + i, n)).unwrap();
        e2e.push((t.elapsed(), t2));
    }
    e2e.sort(); println!("e2e p50 {:?} p99 {:?}", e2e[50], e2e[98]);
}
#[test]
fn throughput() {
    let world = World::new(1);
    let mut events = world.events();
    let t = Instant::now();
    for i in 0..1_000_000u32 { events.send(&format!("account-{}", i % 1000), &[b'x'; 150]).unwrap(); }
    events.flush(LIMIT).unwrap();
    println!("produced 1M in {:?}", t.elapsed());
    for (i, props) in [vec![], vec![("fetch.message.max.bytes","8388608")], vec![("queued.max.messages.kbytes", "200000"), ("queued.min.messages", "1000000")], vec![("fetch.queue.backoff.ms", "1")]].into_iter().enumerate() {
    let mut w = World { settings: world.settings.clone(), reporting: reporting() };
    w.settings.group_id = format!("{}-{i}", world.settings.group_id);
    for (k, v) in &props { w.settings.consumer_properties.insert((*k).into(), (*v).into()); }
    let mut source = w.source(0);
    start(&mut source);
    let cpu = || { let s = std::fs::read_to_string("/proc/self/task/self/stat").unwrap_or_default(); let me = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap(); me.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000 };
    let c0 = cpu();
    let t = Instant::now(); let mut n = 0u64; let mut polls = 0; let mut largest = Duration::ZERO;
    while n < 1_000_000 { let t1 = Instant::now(); source.poll(Duration::from_millis(100), &mut |r| n += u64::from(r.value.is_some())).unwrap(); polls += 1; largest = largest.max(t1.elapsed()); }
    println!("{props:?}: read 1M in {:?}, {} polls, longest {:?}; own thread cpu {} ms", t.elapsed(), polls, largest, cpu() - c0);
    }
}
#[test]
fn frozen_broker() {
    let pid = match std::env::var("BROKER_PID") { Ok(p) => p, _ => return };
    let sig = |s: &str| { std::process::Command::new("kill").args([s, &pid]).status().unwrap(); };
    let mut world = World::new(1);
    world.settings.session_timeout = churnwatch_kafka::Span::from_secs(90);
    world.produce(100);
    let mut source = world.source(0);
    let mut sink = world.sink(0, &source);
    start(&mut source);
    read(&mut source, 100);
    sink.commit(&epoch(P, 1, 10)).unwrap();
    sig("-STOP");
    let t = Instant::now();
    let r = sink.commit(&epoch(P, 2, 20));
    println!("frozen commit: {:?} after {:?}", r, t.elapsed());
    let t = Instant::now();
    let r = sink.reset();
    println!("frozen reset: {:?} after {:?}", r, t.elapsed());
    let t = Instant::now();
    println!("frozen committed: {:?} after {:?}", source.committed(&[P], Duration::from_secs(2)), t.elapsed());
    sig("-CONT");
    let t = Instant::now();
    loop { match sink.reset() { Ok(()) => break, e => println!("{e:?}") } }
    println!("reset after {:?}; {:?}", t.elapsed(), world.reporting.health.readiness());
    println!("{:?}", source.committed(&[P], LIMIT));
    source.resume(P, 10).unwrap();
    println!("read {}", read(&mut source, 90).len());
    println!("{:?}", sink.commit(&epoch(P, 2, 20)));
    // Freeze at a random place in the middle of a commit.
    let pid2 = pid.clone();
    for delay in [500u64, 1500, 2500, 3500, 5000] {
        let p = pid.clone();
        let h = std::thread::spawn(move || { std::thread::sleep(Duration::from_micros(delay)); std::process::Command::new("kill").args(["-STOP", &p]).status().unwrap(); std::thread::sleep(Duration::from_secs(15)); std::process::Command::new("kill").args(["-CONT", &p]).status().unwrap(); });
        let t = Instant::now();
        let r = sink.commit(&epoch(P, 3, 30));
        println!("delay {delay}: {:?} after {:?}", r, t.elapsed());
        h.join().unwrap();
        if r.is_err() { let t = Instant::now(); while let Err(e) = sink.reset() { println!("{e}"); } println!("  reset {:?}", t.elapsed()); }
        println!("  truth {:?}", source.committed(&[P], LIMIT));
        source.resume(P, 10).unwrap();
        let t= Instant::now(); let mut seen = vec![]; while seen.len() < 90 && t.elapsed() < LIMIT { let _ = poll(&mut source, &mut seen); }
        println!("  read {}", seen.len());
    }
}
