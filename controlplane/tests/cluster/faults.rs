//! Ten thousand steps of changes and faults, and then the truth.

use std::time::{Duration, Instant};

use heddle_apiserver::{Double, Fault, Setup, What};
use serde_json::{Value, json};

use crate::world::{Watcher, pod, virtual_service};

const STEPS: usize = 10_000;
/// Kinds that change, and that faults strike.
const RESOURCES: [&str; 5] = [
    "pods",
    "configmaps",
    "services",
    "virtualservices.networking.istio.io",
    "authorizationpolicies.security.istio.io",
];

/// Numbers that look random, and are the same for the same seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let rolled = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(rolled).unwrap_or(0) % sides
    }
}

fn object(resource: &str, name: &str, at: usize) -> Value {
    match resource {
        "pods" => pod(name, &format!("10.1.{}.{}", at / 250 % 250, at % 250 + 1)),
        "services" => {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"selector": {"app": at.to_string()}, "ports": [{"port": 80}]}})
        }
        "configmaps" => json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "heddle", "namespace": "heddle-system"},
            "data": {"mesh": format!("connectTimeout: {}s", at % 90 + 1)}}),
        "authorizationpolicies.security.istio.io" => json!({"apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy", "metadata": {"name": name, "namespace": "ns"},
            "spec": {"action": "DENY", "rules": [{"to": [{"operation": {"ports": [(at % 60_000 + 1).to_string()]}}]}]}}),
        _ => virtual_service(name, &format!("h{at}.example")),
    }
}

fn change(double: &Double, dice: &mut Dice, at: usize) {
    let resource = RESOURCES[dice.roll(RESOURCES.len())];
    let name = format!("o{}", dice.roll(40));
    let (namespace, name) =
        if resource == "configmaps" { ("heddle-system", "heddle") } else { ("ns", &*name) };
    if dice.roll(4) == 0 {
        double.remove(resource, namespace, name);
    } else {
        double.put(object(resource, name, at));
    }
}

/// A list of nothing is told no sooner than this after another: two in a row are no fault but the truth.
const BETWEEN_EMPTY: Duration = Duration::from_millis(500);

fn fault(double: &Double, dice: &mut Dice, empty: &mut Instant) {
    let resource = RESOURCES[dice.roll(RESOURCES.len())];
    let on = |verb: &str, what| double.fail(Fault::once(verb, resource, what));
    match dice.roll(9) {
        0 => on("watch", What::Expired),
        1 => on("watch", What::Duplicate),
        2 => on("watch", What::Reorder),
        3 => on("watch", What::Cut),
        // What happened is forgotten, and whoever asks for it begins anew.
        4 => {
            double.compact();
            on("watch", What::Cut);
        }
        5 => {
            on("list", What::Stale(50));
            on("watch", What::Expired);
        }
        6 => {
            on("list", What::Status([429, 500, 503, 410][dice.roll(4)]));
            on("watch", What::Expired);
        }
        7 => {
            on("list", What::Cut);
            on("watch", What::Expired);
        }
        _ if empty.elapsed() < BETWEEN_EMPTY => on("watch", What::Cut),
        _ => {
            *empty = Instant::now();
            on("list", What::Empty);
            on("watch", What::Expired);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ten_thousand_steps_the_index_is_the_truth_and_nothing_was_deleted_that_is_there() {
    let seed = std::env::var("HEDDLE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0x5eed);
    let double = Double::start(Setup::default()).await.unwrap();
    double.namespace("ns", &json!({"heddle.dev/mesh": "enabled"}));
    // Objects that nobody ever touches: whatever is told, they stay.
    let untouched: Vec<String> = (0..100).map(|at| format!("stays-{at}")).collect();
    for (at, name) in untouched.iter().enumerate() {
        for resource in RESOURCES.iter().filter(|resource| **resource != "configmaps") {
            double.put(object(resource, name, at));
        }
    }
    let mut watcher = Watcher::start(double.clone()).await;
    watcher.until("complete", |watcher| watcher.last.complete).await;
    let mut dice = Dice(seed);
    let (mut faults, mut empty) = (0, Instant::now());
    for at in 0..STEPS {
        if dice.roll(20) == 0 {
            if double.pending_faults() == 0 {
                fault(&double, &mut dice, &mut empty);
                faults += 1;
            }
        } else {
            change(&double, &mut dice, at);
        }
        if at % 1500 == 1499 {
            double.down(true);
            watcher.drain(Duration::from_millis(30)).await;
            double.down(false);
        }
        if at % 10 == 9 {
            watcher.drain(Duration::from_millis(2)).await;
        }
    }
    double.clear_faults();
    watcher
        .until("the truth", |watcher| {
            // What is told last decides; asked for with every batch.
            watcher.inputs == watcher.truth()
        })
        .await;
    let stormed: Vec<_> = watcher.removed.iter().filter(|key| key.name.starts_with("stays-")).collect();
    assert!(stormed.is_empty(), "seed {seed}: {stormed:?}");
    assert!(faults > 50, "seed {seed}: {faults} faults are too few");
    watcher.stop.cancel();
}
