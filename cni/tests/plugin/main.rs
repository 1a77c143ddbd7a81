//! The plugin as a runtime calls it: the binary, its environment, its standard input; and an agent that the test plays. Needs root.
#![allow(clippy::unwrap_used, clippy::panic)]

mod agent;
mod call;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use agent::{Agent, peer_of_nobody};
use call::{Call, World, dbnet, ptp_result};
use heddle_cni::enrolled::Enrolled;
use heddle_cni::error::{CniError, Code};
use heddle_cni::protocol::{Answer, Key, Request};
use serde_json::{Value, json};

#[test]
fn add_tells_the_agent_of_the_pod_and_passes_the_result_through() {
    let world = World::new();
    let agent = Agent::answering(&world.socket(), |_| Answer::Ok);
    // Results as plugins of each version write them, the specification's own example among them.
    let example: Value = dbnet();
    let cases = [
        ("1.1.0", ptp_result(), vec!["10.244.1.7", "fd00:10:244:1::7"]),
        ("1.0.0", example, vec!["10.1.0.5"]),
        (
            "0.4.0",
            json!({"cniVersion": "0.4.0", "ips": [{"version": "4", "address": "10.0.0.9/24"}], "dns": {}}),
            vec!["10.0.0.9"],
        ),
        (
            "0.3.1",
            json!({"ips": [{"version": "6", "address": "fd00::2/64"}], "unknown": {"kept": true}}),
            vec!["fd00::2"],
        ),
        ("1.0.0", json!({"interfaces": [], "ips": []}), vec![]),
    ];
    for (version, previous, ips) in cases {
        let call = Call::add(&world).version(version).config("prevResult", previous.clone());
        let output = call.run();
        let mut expected = previous;
        expected["cniVersion"] = json!(version);
        assert_eq!((output.code, output.json()), (0, expected));
        let Request::Add(asked) = agent.asked() else { panic!("no ADD") };
        assert_eq!(asked.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ips);
        assert_eq!(
            (asked.namespace.as_str(), asked.name.as_str(), asked.uid.as_str()),
            ("shop", "web-0", call::UID)
        );
        assert_eq!(asked.key, Key { container_id: "sandbox1".into(), ifname: "eth0".into() });
        assert_eq!((asked.netns.to_str(), asked.excluded), (Some("/var/run/netns/cni-1"), false));
    }
}

#[test]
fn what_the_agent_refuses_is_the_runtimes_error_with_code_message_and_details() {
    let world = World::new();
    let refusal = CniError::new(Code::AGAIN, "not captured", "the guard cannot be attached");
    let _agent = Agent::answering(&world.socket(), move |_| Answer::Error(refusal.clone()));
    for command in ["ADD", "CHECK"] {
        let output = Call::new(&world, command).run();
        let expected = json!({"cniVersion": "1.0.0", "code": 11, "msg": "not captured", "details": "the guard cannot be attached"});
        assert_eq!((output.code, output.json()), (1, expected), "{command}");
    }
    // A pod must be able to end.
    assert_eq!(Call::new(&world, "DEL").run().nothing(), 0);
}

#[test]
fn versions_are_negotiated_as_the_specification_has_it() {
    let world = World::new();
    let _agent = Agent::answering(&world.socket(), |_| Answer::Ok);
    let supported = json!(["0.3.1", "0.4.0", "1.0.0", "1.1.0"]);
    for (stdin, version) in
        [(r#"{"cniVersion":"0.4.0"}"#, "0.4.0"), (r#"{"cniVersion":"9.0.0"}"#, "9.0.0"), ("", "1.1.0")]
    {
        let output = Call::new(&world, "VERSION").without_variables().stdin(stdin).run();
        assert_eq!(
            (output.code, output.json()),
            (0, json!({"cniVersion": version, "supportedVersions": supported}))
        );
    }
    let refused = |version: &str, command: &str| {
        let output = Call::new(&world, command).version(version).run();
        assert_eq!(output.code, 1, "{version} {command}");
        let error = output.json();
        (error["code"].as_u64().unwrap(), error["details"].as_str().unwrap().to_owned())
    };
    for version in ["", "0.1.0", "0.2.0", "0.3.0", "1.2.0", "2.0.0", "one"] {
        let (code, details) = refused(version, "ADD");
        assert_eq!(code, 1, "{version}");
        assert!(details.contains("0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{details}");
    }
    for (version, command) in [("0.3.1", "CHECK"), ("1.0.0", "GC"), ("0.4.0", "STATUS")] {
        let (code, details) = refused(version, command);
        assert!(code == 1 && details.contains(command), "{details}");
    }
}

#[test]
fn bad_calls_are_refused_by_code_and_name_what_is_wrong() {
    let world = World::new();
    let _agent = Agent::answering(&world.socket(), |_| panic!("asked"));
    let add = || Call::add(&world);
    let cases = [
        (add().without("CNI_CONTAINERID"), 4, "CNI_CONTAINERID"),
        (add().variable("CNI_CONTAINERID", "../x"), 4, "CNI_CONTAINERID is '../x'"),
        (add().variable("CNI_CONTAINERID", "-x"), 4, "CNI_CONTAINERID"),
        (add().without("CNI_NETNS"), 4, "CNI_NETNS"),
        (add().variable("CNI_NETNS", "netns"), 4, "CNI_NETNS"),
        (add().without("CNI_IFNAME"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", "a/b"), 4, "CNI_IFNAME"),
        (add().variable("CNI_IFNAME", "0123456789abcdef"), 4, "CNI_IFNAME"),
        (add().variable("CNI_ARGS", "no pairs"), 4, "CNI_ARGS"),
        (add().variable("CNI_ARGS", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b"), 4, "K8S_POD_UID"),
        (
            add().variable("CNI_ARGS", "K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;K8S_POD_UID=../../etc"),
            4,
            "CNI_ARGS",
        ),
        (add().variable("CNI_COMMAND", "JUMP"), 4, "CNI_COMMAND is 'JUMP'"),
        (add().stdin("{"), 6, "standard input"),
        (add().stdin(""), 6, "standard input"),
        (add().config("excludeNamespaces", json!("kube-system")), 6, "expected a sequence"),
        (add().config("name", json!("no name")), 7, "name 'no name'"),
        (add().config("name", Value::Null), 6, "standard input"),
        (add().config("socket", json!("cni.sock")), 7, "absolute"),
        (add().config("timeoutSeconds", json!(0)), 7, "timeoutSeconds 0"),
        (add().config("prevResult", Value::Null), 7, "prevResult is missing"),
        (
            add().config("prevResult", json!({"ips": [{"address": "10.1"}]})),
            7,
            "prevResult.ips[0].address '10.1'",
        ),
        (add().config("prevResult", json!({"ips": [{}]})), 7, "prevResult.ips[0].address"),
        (add().config("prevResult", json!({"ips": {}})), 7, "prevResult.ips is not a list"),
        (
            add().config("prevResult", json!({"ips": [{"address": "10.0.0.1/8", "interface": 3}]})),
            7,
            "prevResult.ips[0].interface",
        ),
        (Call::new(&world, "GC").version("1.1.0"), 7, "cni.dev/valid-attachments"),
    ];
    for (call, code, details) in cases {
        let output = call.run();
        let error = output.json();
        assert_eq!((output.code, error["code"].as_u64()), (1, Some(code)), "{error}");
        assert!(error["details"].as_str().unwrap().contains(details), "{error} does not say {details}");
        assert!(error["msg"].is_string() && error["cniVersion"].is_string());
    }
}

#[test]
fn a_sandbox_that_is_no_pod_is_left_alone() {
    let world = World::new();
    let _agent = Agent::answering(&world.socket(), |_| panic!("asked"));
    for args in ["", "IgnoreUnknown=1", "FOO=BAR;ABC=123"] {
        assert_eq!(Call::add(&world).variable("CNI_ARGS", args).run().code, 0, "{args}");
    }
}

#[test]
fn without_an_agent_pods_start_where_nothing_is_enrolled_and_only_there() {
    let world = World::new();
    let namespace = |namespace: &str| {
        let args =
            format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME=p;K8S_POD_UID={}", call::UID);
        let output = Call::add(&world).variable("CNI_ARGS", &args).run();
        (
            output.code,
            output.json()["code"].as_u64(),
            output.json()["details"].as_str().unwrap_or_default().to_owned(),
        )
    };
    // None has run since the node booted.
    assert_eq!(namespace("kube-system").0, 0, "excluded");
    let (code, error, details) = namespace("shop");
    assert_eq!((code, error), (1, Some(11)));
    assert!(details.contains("since this node booted"), "{details}");
    assert_eq!(Call::new(&world, "STATUS").version("1.1.0").run().json()["code"], 50);

    Enrolled::now(["shop".to_owned(), "kube-system".to_owned()]).unwrap().write(&world.namespaces()).unwrap();
    assert_eq!(namespace("other").0, 0);
    assert_eq!(namespace("kube-system").0, 0, "excluded comes first, or no cluster would come up");
    let (code, error, details) = namespace("shop");
    assert_eq!((code, error), (1, Some(11)));
    assert!(details.contains("namespace shop is enrolled"), "{details}");
    assert_eq!(Call::new(&world, "STATUS").version("1.1.0").run().nothing(), 0);

    // A socket that nobody listens at, as an agent that was killed leaves it.
    drop(std::os::unix::net::UnixListener::bind(world.socket()).unwrap());
    assert_eq!((namespace("other").0, namespace("shop").1), (0, Some(11)));
    assert_eq!(Call::new(&world, "DEL").run().nothing(), 0);
    assert_eq!(
        Call::new(&world, "GC")
            .version("1.1.0")
            .config("cni.dev/valid-attachments", json!([]))
            .run()
            .nothing(),
        0
    );

    // A list of another boot is none.
    fs::write(world.namespaces(), r#"{"bootId":"another","namespaces":[]}"#).unwrap();
    assert_eq!(namespace("other").1, Some(11));
    // One that others may have written is not believed.
    Enrolled::now([]).unwrap().write(&world.namespaces()).unwrap();
    fs::set_permissions(world.namespaces(), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(namespace("other").1, Some(100));
}

#[test]
fn only_roots_own_socket_is_asked_and_only_root_is_believed() {
    let world = World::new();
    let refused = |why: &str| {
        let output = Call::add(&world).run();
        let error = output.json();
        assert_eq!((output.code, &error["code"]), (1, &json!(100)), "{error}");
        assert!(error["details"].as_str().unwrap().contains(why), "{error} does not say {why}");
        // Ends come through all the same.
        assert_eq!(Call::new(&world, "DEL").run().nothing(), 0);
    };
    let socket = world.socket();
    let agent = Agent::answering(&socket, |_| Answer::Ok);
    nix::unistd::chown(&socket, Some(65534.into()), None).unwrap();
    refused("belongs to user 65534");
    nix::unistd::chown(&socket, Some(0.into()), None).unwrap();
    fs::set_permissions(world.folder(), fs::Permissions::from_mode(0o777)).unwrap();
    refused("can be written by others");
    fs::set_permissions(world.folder(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(Call::add(&world).run().code, 0);
    drop(agent);
    fs::remove_file(&socket).unwrap();

    let _nobody = peer_of_nobody(&socket);
    refused("served by user 65534");
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    refused("is not a socket");
}

#[test]
fn an_agent_that_ends_stalls_or_babbles_holds_the_pod_back_in_bounded_time() {
    for (babble, why) in [
        (Some("no json\n"), "gave no answer"),
        (Some("half"), "ended before it answered"),
        (None, "does not answer within 1s"),
    ] {
        let world = World::new();
        let _agent = Agent::saying(&world.socket(), babble);
        let output = Call::add(&world).config("timeoutSeconds", json!(1)).run();
        let error = output.json();
        assert_eq!((output.code, &error["code"]), (1, &json!(11)), "{error}");
        assert!(error["details"].as_str().unwrap().contains(why), "{error} does not say {why}");
    }
}

#[test]
fn gc_and_status_reach_the_agent() {
    let world = World::new();
    let agent = Agent::answering(&world.socket(), |_| Answer::Ok);
    let valid = json!([{"containerID": "a", "ifname": "eth0"}, {"containerID": "b", "ifname": "net1"}]);
    let gc = Call::new(&world, "GC")
        .version("1.1.0")
        .without_variables()
        .config("cni.dev/valid-attachments", valid);
    assert_eq!(gc.run().nothing(), 0);
    let key = |container: &str, ifname: &str| Key { container_id: container.into(), ifname: ifname.into() };
    assert_eq!(agent.asked(), Request::Gc { valid: vec![key("a", "eth0"), key("b", "net1")] });
    assert_eq!(Call::new(&world, "STATUS").version("1.1.0").without_variables().run().nothing(), 0);
    assert_eq!(agent.asked(), Request::Status);
    // DEL needs neither namespace nor result.
    assert_eq!(
        Call::new(&world, "DEL").without("CNI_NETNS").config("prevResult", Value::Null).run().nothing(),
        0
    );
    assert_eq!(agent.asked(), Request::Del(key("sandbox1", "eth0")));
}
