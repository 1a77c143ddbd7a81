//! What keeps requests together.

use std::time::Duration;

use heddle_core::upstream::model::HashKey;
use heddle_core::upstream::{Affinity, hash_key};
use http::HeaderMap;

fn affinity(key: &HashKey, headers: &[(&'static str, &str)], query: Option<&str>) -> Affinity {
    let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let mut map = HeaderMap::new();
    pairs.for_each(|(name, value): (http::HeaderName, http::HeaderValue)| _ = map.append(name, value));
    let (client, dialled) = ("10.0.0.1:4000".parse().unwrap(), "10.96.0.1:80".parse().unwrap());
    Affinity::of(key, &map, query, (client, dialled))
}

#[test]
fn requests_are_hashed_by_what_is_asked_for() {
    let of = |text: &str| Affinity::Hash(hash_key(text.as_bytes()));
    let header = HashKey::Header("x-user".to_owned());
    assert_eq!(affinity(&header, &[("x-user", "joe")], None), of("joe"));
    assert_eq!(affinity(&header, &[("x-user", "b"), ("x-user", "a")], None), of("ab"));
    assert_eq!(affinity(&header, &[], None), Affinity::None);
    let query = HashKey::Query("id".to_owned());
    assert_eq!(affinity(&query, &[], Some("a=1&id=2&id=3")), of("2"));
    assert_eq!(affinity(&query, &[], Some("ids=2&id")), of(""));
    assert_eq!(affinity(&query, &[], None), Affinity::None);
    assert_eq!(affinity(&HashKey::SourceIp, &[], None), of("10.0.0.1"));
    let cookie = |ttl| HashKey::Cookie { name: "user".to_owned(), path: "/p".to_owned(), ttl };
    let headers = [("cookie", "xuser=no; user=\"joe\""), ("cookie", "user=other")];
    assert_eq!(affinity(&cookie(None), &headers, None), of("joe"));
    assert_eq!(affinity(&cookie(None), &[], None), Affinity::None);
}

#[test]
fn a_cookie_that_lacks_is_made_and_leads_to_the_same_endpoint_when_it_comes_back() {
    let key =
        |ttl, path: &str| HashKey::Cookie { name: "user".to_owned(), path: path.to_owned(), ttl: Some(ttl) };
    let Affinity::NewCookie(hash, set) = affinity(&key(Duration::from_secs(60), "/p"), &[], None) else {
        unreachable!()
    };
    assert!(set.ends_with("\"; Max-Age=60; Path=/p; HttpOnly"), "{set}");
    let returned = set.split(';').next().unwrap();
    let again = affinity(&key(Duration::from_secs(60), "/p"), &[("cookie", returned)], None);
    assert_eq!(again, Affinity::Hash(hash));
    let session = affinity(&key(Duration::ZERO, ""), &[], None);
    assert!(
        matches!(session, Affinity::NewCookie(_, set) if set.ends_with("\"; HttpOnly") && !set.contains("Max-Age"))
    );
}
