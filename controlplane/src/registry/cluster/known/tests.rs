//! Lists and events as they should not come.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn id(name: &str) -> ObjectId {
    ObjectId { directory: "configmaps.core".into(), namespace: "ns".into(), name: name.into() }
}

fn object(name: &str, version: u64) -> (ObjectId, u64, Object) {
    let value = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "resourceVersion": version.to_string()}});
    (id(name), version, Object::from_value(value).unwrap())
}

fn taken(listing: &Listing) -> (Vec<&str>, Vec<&str>) {
    let Listing::Taken { puts, gone, .. } = listing else { unreachable!("{listing:?}") };
    (puts.iter().map(|(id, _)| &*id.name).collect(), gone.iter().map(|id| &*id.name).collect())
}

#[test]
fn a_list_that_lacks_objects_counts_when_a_second_one_agrees() {
    let mut known = Known::default();
    assert_eq!(taken(&known.listed(5, vec![object("a", 1), object("b", 2)])), (vec!["a", "b"], vec![]));
    assert_eq!(known.listed(6, vec![]), Listing::Doubtful(2));
    assert_eq!(
        taken(&known.listed(6, vec![object("a", 1), object("b", 2)])),
        (vec![], vec![]),
        "it was wrong"
    );
    assert_eq!(known.listed(7, vec![object("b", 2)]), Listing::Doubtful(1));
    // What was deleted between the two is told by the watch from the first.
    let Listing::Taken { gone, version, .. } = known.listed(9, vec![]) else { unreachable!() };
    assert_eq!((gone, version), (vec![id("a")], 7));
    assert!(known.delete(&id("b"), 8));
}

#[test]
fn a_list_of_the_past_changes_nothing_until_the_past_is_all_there_is() {
    let mut known = Known::default();
    known.listed(50, vec![object("a", 50)]);
    for _ in 0..PATIENCE {
        assert_eq!(known.listed(40, vec![object("b", 30)]), Listing::Behind);
    }
    assert_eq!(known.listed(40, vec![object("b", 30)]), Listing::Doubtful(1));
    assert_eq!(taken(&known.listed(40, vec![object("b", 30)])), (vec!["b"], vec!["a"]));
    assert!(known.put(&id("b"), 41), "versions count from there");
}

#[test]
fn what_comes_late_or_twice_is_no_news() {
    let mut known = Known::default();
    known.listed(5, vec![object("a", 5)]);
    assert!(known.put(&id("a"), 7) && !known.put(&id("a"), 7) && !known.put(&id("a"), 6));
    assert!(!known.in_order(6) && known.in_order(7));
    assert!(!known.delete(&id("a"), 6), "an earlier one of that name");
    assert!(known.delete(&id("a"), 8) && !known.delete(&id("a"), 8));
    assert!(!known.put(&id("a"), 7), "it is gone");
    assert!(known.put(&id("a"), 9));
}

proptest! {
    /// Any order and number of the events of a few objects leaves the last word on each.
    #[test]
    fn events_in_any_order_leave_the_last_word(
        history in prop::collection::vec((0..4_usize, prop::bool::weighted(0.7)), 1..40),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let mut known = Known::default();
        known.listed(0, vec![]);
        let mut model: BTreeMap<ObjectId, u64> = BTreeMap::new();
        let mut play = |known: &mut Known, at: usize| {
            let (name, put) = history[at];
            let (id, version) = (id(&name.to_string()), at as u64 + 1);
            if put {
                if known.put(&id, version) { model.insert(id, version); }
            } else if known.delete(&id, version) {
                model.remove(&id);
            }
        };
        for at in &order {
            play(&mut known, at.index(history.len()));
        }
        // And in the end everything at least once, backwards.
        for at in (0..history.len()).rev() {
            play(&mut known, at);
        }
        let mut truth: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for (at, (name, put)) in history.iter().enumerate() {
            let id = id(&name.to_string());
            if *put { truth.insert(id, at as u64 + 1); } else { truth.remove(&id); }
        }
        prop_assert_eq!(&model, &truth);
        prop_assert_eq!(&known.held, &truth);
    }
}
