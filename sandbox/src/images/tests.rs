//! Images as manifests write them.
#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_name_matches_with_and_without_registry_and_tag() {
    let images = [
        "hashicorp/http-echo",
        "hashicorp/http-echo:1.0",
        "docker.io/hashicorp/http-echo:latest",
        "localhost:5000/hashicorp/http-echo@sha256:00",
    ];
    for image in images {
        let found = ImageMap::default().resolve(image).map(|found| found.entrypoint[1..].join(" "));
        assert_eq!(found.as_deref(), Ok("sandbox-node app http-echo"), "{image}");
    }
    for image in
        ["nginx", "nginx:1.25", "docker.io/library/nginx", "library/nginx:alpine", "busybox:1.36", "alpine"]
    {
        assert!(ImageMap::default().resolve(image).is_ok(), "{image}");
    }
    let gateway = "gcr.io/k8s-staging-gateway-api/echo-basic:v20240412-v1.0.0-394-g40c666fd";
    assert!(answers_to(gateway, "k8s-staging-gateway-api/echo-basic"));
    assert!(!answers_to("someone/http-echo", "hashicorp/http-echo"));
}

#[test]
fn an_unknown_image_is_an_error_that_names_the_flag() {
    let error = ImageMap::default().resolve("example.com/mine:1").unwrap_err().to_string();
    assert!(error.contains("--image example.com/mine:1=PROGRAM"), "{error}");
}

#[test]
fn an_added_image_wins_over_a_well_known_one() {
    let mut map = ImageMap::default();
    map.add("nginx=sh").unwrap();
    map.add("heddle-probe=/bin/sh").unwrap();
    assert!(map.resolve("docker.io/library/nginx:1.25").unwrap().entrypoint[0].ends_with("/sh"));
    assert_eq!(map.resolve("heddle-probe").unwrap().entrypoint, ["/bin/sh"]);
    assert!(matches!(map.add("x"), Err(ImageError::Syntax(_))));
    assert!(matches!(map.add("x=/no/such/program"), Err(ImageError::NoProgram { .. })));
}

#[test]
fn command_replaces_the_entrypoint_and_args_its_arguments() {
    let image = Entrypoint { entrypoint: owned(&["e"]), default_args: owned(&["d"]) };
    let (none, command, args) = (Vec::new(), owned(&["c"]), owned(&["a"]));
    assert_eq!(image.argv(&none, &none), ["e", "d"]);
    assert_eq!(image.argv(&none, &args), ["e", "a"]);
    assert_eq!(image.argv(&command, &none), ["c"]);
    assert_eq!(image.argv(&command, &args), ["c", "a"]);
}
