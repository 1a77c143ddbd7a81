//! Who asks, how often, and what is kept.

use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU32;

use futures_util::future::BoxFuture;

use super::*;

/// Answers by script: the looks at any name, counted.
#[derive(Debug, Default)]
struct Script {
    looks: AtomicU32,
    answers: Mutex<Vec<Result<Found, LookupError>>>,
}

#[derive(Debug)]
struct Shared(Arc<Script>);

impl Lookup for Shared {
    fn of(&self, _pod: &Arc<Pod>) -> Box<dyn PodLookup> {
        Box::new(Self(self.0.clone()))
    }
}

impl PodLookup for Shared {
    fn look(&self, _name: &str) -> BoxFuture<'static, Result<Found, LookupError>> {
        self.0.looks.fetch_add(1, Ordering::Relaxed);
        let mut answers = lock(&self.0.answers);
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Box::pin(async { answer })
    }
}

fn pod(cookie: u64) -> Arc<Pod> {
    Arc::new(Pod {
        uid: PodUid::new("a"),
        namespace: "shop".into(),
        name: "a".into(),
        service_account: "a".into(),
        addresses: ["10.0.0.1".parse().unwrap()].into(),
        cookie: NetnsCookie(cookie),
        netns: OwnedFd::from(std::fs::File::open("/dev/null").unwrap()),
        host_ifindex: 0,
    })
}

/// As in life, a hundred times faster.
const PACE: Pace = Pace {
    soonest: Duration::from_millis(10),
    latest: Duration::from_secs(300),
    again: Duration::from_millis(10),
    again_at_most: Duration::from_millis(300),
};
const LONG: u64 = 1_000_000;

fn found(last: u8, millis: u64) -> Result<Found, LookupError> {
    Ok(Found { addresses: vec![[192, 0, 2, last].into()], ttl: Duration::from_millis(millis) })
}

/// Waits for what is bound to come.
async fn until(met: impl Fn() -> bool) {
    let waiting = async {
        while !met() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.unwrap();
}

fn world(answers: Vec<Result<Found, LookupError>>) -> (Arc<Script>, Arc<Names>) {
    let script = Arc::new(Script { looks: AtomicU32::new(0), answers: Mutex::new(answers) });
    (script.clone(), Names::new(Arc::new(Shared(script)), PACE, Handle::current()))
}

fn name() -> [Box<str>; 1] {
    ["api.example.com".into()]
}

fn addresses(names: &PodNames) -> Vec<IpAddr> {
    names.answers().get(&*name()[0]).map(|addresses| addresses.to_vec()).unwrap_or_default()
}

#[tokio::test]
async fn one_refresher_serves_everybody_who_asks() {
    let (script, names) = world(vec![found(1, LONG)]);
    let (one, two) = (names.of(&pod(1)), names.of(&pod(1)));
    let wishes: Vec<_> = (0..50).flat_map(|_| [one.want(&name()), two.want(&name())]).collect();
    one.ready(&name()).await;
    assert_eq!(addresses(&two), [IpAddr::from([192, 0, 2, 1])]);
    assert_eq!(script.looks.load(Ordering::Relaxed), 1);
    drop(wishes);
    until(|| one.answers().is_empty() && lock(&one.wishes).is_empty()).await;
}

#[tokio::test]
async fn an_answer_is_looked_up_again_before_it_is_too_old() {
    let (script, names) = world(vec![found(1, 1), found(2, 1), found(3, LONG)]);
    let of = names.of(&pod(1));
    let _wish = of.want(&name());
    until(|| addresses(&of) == [IpAddr::from([192, 0, 2, 3])]).await;
    assert_eq!((script.looks.load(Ordering::Relaxed), of.version()), (3, 3));
}

#[tokio::test]
async fn each_pod_has_answers_of_its_own() {
    let (script, names) = world(vec![found(1, LONG)]);
    let (one, two) = (names.of(&pod(1)), names.of(&pod(2)));
    let _wishes = (one.want(&name()), two.want(&name()));
    one.ready(&name()).await;
    two.ready(&name()).await;
    assert_eq!(script.looks.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_last_good_answer_outlives_servers_that_fail() {
    let failures = (0..4).map(|_| Err(LookupError::Late));
    let (script, names) = world([found(1, 1)].into_iter().chain(failures).chain([found(2, LONG)]).collect());
    let of = names.of(&pod(1));
    let _wish = of.want(&name());
    of.ready(&name()).await;
    until(|| addresses(&of) != [IpAddr::from([192, 0, 2, 1])]).await;
    assert_eq!(addresses(&of), [IpAddr::from([192, 0, 2, 2])]);
    assert_eq!((script.looks.load(Ordering::Relaxed), of.version()), (6, 2), "no other answer in between");
}

#[tokio::test]
async fn a_name_that_is_gone_has_no_addresses() {
    let gone = Ok(Found { addresses: Vec::new(), ttl: Duration::from_secs(5) });
    let (_script, names) = world(vec![found(1, 1), gone]);
    let of = names.of(&pod(1));
    let _wish = of.want(&name());
    of.ready(&name()).await;
    until(|| of.knows(&name()[0]) && addresses(&of).is_empty()).await;
}

#[tokio::test]
async fn a_pod_that_is_gone_leaves_nothing() {
    let (_script, names) = world(vec![found(1, LONG)]);
    let of = names.of(&pod(1));
    let wish = of.want(&name());
    of.ready(&name()).await;
    let left = Arc::downgrade(&of);
    drop((of, wish));
    until(|| left.strong_count() == 0).await;
    drop(names.of(&pod(2)));
    assert_eq!(lock(&names.pods).len(), 1, "the first was swept");
}

#[tokio::test]
async fn names_and_addresses_are_bounded() {
    let many = (0..1000_u32).map(|n| IpAddr::from(n.to_be_bytes())).collect();
    let (_script, names) = world(vec![Ok(Found { addresses: many, ttl: Duration::from_secs(300) })]);
    let of = names.of(&pod(1));
    let all: Vec<Box<str>> = (0..2 * NAMES).map(|n| format!("{n}.example.com").into()).collect();
    let wishes = of.want(&all);
    assert_eq!(wishes.len(), NAMES);
    until(|| !of.answers().is_empty()).await;
    assert!(of.answers().values().all(|addresses| addresses.len() == ADDRESSES));
}
