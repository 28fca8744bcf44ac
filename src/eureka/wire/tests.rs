use serde_json::{Value, json};

use super::*;

/// A registration as `spring-cloud-starter-netflix-eureka-client` sends it, every field.
const SPRING: &str = r#"{"instance":{"instanceId":"host:orders:8080","hostName":"10.0.0.5",
"app":"orders","ipAddr":"10.0.0.5","status":"UP","overriddenStatus":"UNKNOWN","sid":"na",
"port":{"$":8080,"@enabled":"true"},"securePort":{"$":443,"@enabled":"false"},"countryId":1,
"dataCenterInfo":{"@class":"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo","name":"MyOwn"},
"leaseInfo":{"renewalIntervalInSecs":10,"durationInSecs":30,"registrationTimestamp":0,
"lastRenewalTimestamp":0,"evictionTimestamp":0,"serviceUpTimestamp":0},
"metadata":{"management.port":"8080","stage":"a<b"},"homePageUrl":"http://10.0.0.5:8080/",
"statusPageUrl":"http://10.0.0.5:8080/actuator/info","vipAddress":"orders",
"secureVipAddress":"orders","isCoordinatingDiscoveryServer":"false",
"lastUpdatedTimestamp":"1700000000001","lastDirtyTimestamp":"1700000000002","actionType":"ADDED"}}"#;

fn spring() -> Instance {
    Instance::decode(Format::Json, SPRING.as_bytes()).unwrap()
}

#[test]
fn an_instance_is_written_in_json_as_it_came_from_java() {
    let written: Value =
        serde_json::from_slice(&Document::Instance(&spring()).encode(Format::Json)).unwrap();
    let mut expected: Value = serde_json::from_str(SPRING).unwrap();
    // Its name in capitals, and no relic without a meaning.
    expected["instance"]["app"] = "ORDERS".into();
    expected["instance"].as_object_mut().unwrap().remove("sid");
    assert_eq!(written, expected);
}

#[test]
fn an_instance_is_written_in_xml_as_xstream_does() {
    let xml = String::from_utf8(Document::Instance(&spring()).encode(Format::Xml)).unwrap();
    let expected = "<instance><instanceId>host:orders:8080</instanceId>\
        <hostName>10.0.0.5</hostName><app>ORDERS</app><ipAddr>10.0.0.5</ipAddr>\
        <status>UP</status><overriddenstatus>UNKNOWN</overriddenstatus>\
        <port enabled=\"true\">8080</port><securePort enabled=\"false\">443</securePort>\
        <countryId>1</countryId>\
        <dataCenterInfo class=\"com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo\">\
        <name>MyOwn</name></dataCenterInfo><leaseInfo>\
        <renewalIntervalInSecs>10</renewalIntervalInSecs><durationInSecs>30</durationInSecs>\
        <registrationTimestamp>0</registrationTimestamp>\
        <lastRenewalTimestamp>0</lastRenewalTimestamp><evictionTimestamp>0</evictionTimestamp>\
        <serviceUpTimestamp>0</serviceUpTimestamp></leaseInfo>\
        <metadata><management.port>8080</management.port><stage>a&lt;b</stage></metadata>\
        <homePageUrl>http://10.0.0.5:8080/</homePageUrl>\
        <statusPageUrl>http://10.0.0.5:8080/actuator/info</statusPageUrl>\
        <vipAddress>orders</vipAddress><secureVipAddress>orders</secureVipAddress>\
        <isCoordinatingDiscoveryServer>false</isCoordinatingDiscoveryServer>\
        <lastUpdatedTimestamp>1700000000001</lastUpdatedTimestamp>\
        <lastDirtyTimestamp>1700000000002</lastDirtyTimestamp>\
        <actionType>ADDED</actionType></instance>";
    assert_eq!(xml, expected);
}

#[test]
fn what_one_format_wrote_the_same_format_reads_back() {
    let mut instance = spring();
    instance.metadata.insert("a_key $ 键 1".into(), "tab\t \"q\" <&> \r\n".into());
    instance.data_center = Some(DataCenter {
        name: DataCenterName::Amazon,
        metadata: [("instance-id".to_owned(), "i-1".to_owned())].into(),
    });
    instance.extra.insert("colour".into(), json!("blue"));
    let bare = Instance { app: "BARE".into(), host_name: "h".into(), ..Instance::default() };
    let all = Applications {
        version: 7,
        hash_code: "UP_2_".into(),
        applications: vec![
            Application { name: "ORDERS".into(), instances: vec![instance.clone(), instance] },
            Application { name: "BARE".into(), instances: vec![bare] },
        ],
    };
    for format in [Format::Json, Format::Xml] {
        let written = Document::Applications(&all).encode(format);
        let read = Applications::decode(format, &written).unwrap();
        assert_eq!(read, all, "{}", String::from_utf8_lossy(&written));
    }
}

#[test]
fn lists_stand_under_the_names_that_consumers_know() {
    let all = Applications { version: 1, hash_code: "UP_1_".into(), applications: vec![] };
    let document = Document::Applications(&all);
    assert_eq!(
        String::from_utf8(document.encode(Format::Json)).unwrap(),
        r#"{"applications":{"versions__delta":"1","apps__hashcode":"UP_1_","application":[]}}"#
    );
    assert_eq!(
        String::from_utf8(document.encode(Format::Xml)).unwrap(),
        "<applications><versions__delta>1</versions__delta><apps__hashcode>UP_1_</apps__hashcode>\
         </applications>"
    );
}

#[test]
fn a_list_of_one_may_stand_without_its_brackets() {
    let text = r#"{"applications":{"versions__delta":1,"apps__hashcode":"UP_1_",
        "application":{"name":"A","instance":{"hostName":"h","app":"A"}}}}"#;
    let all = Applications::decode(Format::Json, text.as_bytes()).unwrap();
    assert_eq!(all.version, 1);
    assert_eq!(all.instances().map(Instance::id).collect::<Vec<_>>(), ["h"]);
}

#[test]
fn a_registration_that_says_little_has_the_values_java_gives_it() {
    for (format, text) in [
        (
            Format::Json,
            r#"{"instance":{"hostName":"h","app":"shop","status":"nonsense","port":null,
            "metadata":{"@class":"java.util.Collections$EmptyMap"},"leaseInfo":{"durationInSecs":0},
            "dataCenterInfo":{"name":"myown"}}}"#,
        ),
        (
            Format::Xml,
            "<?xml version=\"1.0\"?><!-- x --><instance><hostName>h</hostName>\
            <app>shop</app><status>nonsense</status>\
            <metadata class=\"java.util.Collections$EmptyMap\"/>\
            <leaseInfo>\n <durationInSecs>0</durationInSecs>\n</leaseInfo>\
            <dataCenterInfo class=\"x\"><name>myown</name></dataCenterInfo></instance>",
        ),
    ] {
        let instance = Instance::decode(format, text.as_bytes()).unwrap();
        let expected = Instance {
            host_name: "h".into(),
            app: "SHOP".into(),
            status: InstanceStatus::Unknown,
            lease: Some(LeaseInfo::default()),
            data_center: Some(DataCenter::my_own()),
            ..Instance::default()
        };
        assert_eq!(instance, expected, "{text}");
    }
}

#[test]
fn numbers_and_truth_values_may_be_strings() {
    let text = r#"{"instance":{"hostName":"h","port":{"$":"81","@enabled":false},"securePort":82,
        "lastDirtyTimestamp":5,"countryId":"3","metadata":{"n":1,"b":true,"o":{"x":1}}}}"#;
    let instance = Instance::decode(Format::Json, text.as_bytes()).unwrap();
    assert_eq!(instance.port, PortEntry { number: 81, enabled: false });
    assert_eq!(instance.secure_port, PortEntry { number: 82, enabled: false });
    assert_eq!((instance.last_dirty, instance.country_id), (Some(5), 3));
    let metadata: Vec<&str> = instance.metadata.values().map(String::as_str).collect();
    assert_eq!(metadata, ["true", "1", r#"{"x":1}"#]);
}

#[test]
fn both_spellings_of_the_override_are_read() {
    for text in [
        r#"{"instance":{"hostName":"h","overriddenstatus":"DOWN"}}"#,
        r#"{"instance":{"hostName":"h","overriddenStatus":"DOWN","overriddenstatus":"UP"}}"#,
    ] {
        let instance = Instance::decode(Format::Json, text.as_bytes()).unwrap();
        assert_eq!(instance.overridden_status, InstanceStatus::Down, "{text}");
    }
}

#[test]
fn what_is_no_instance_is_refused_with_its_field() {
    for (format, text, expected) in [
        (Format::Json, "", "as JSON"),
        (Format::Json, "[]", "`instance`"),
        (Format::Json, r#"{"application":{}}"#, "`instance`"),
        (Format::Json, r#"{"instance":[1]}"#, "`instance`"),
        (Format::Json, r#"{"instance":{"hostName":["x",{}]}}"#, "`hostName`"),
        (Format::Json, r#"{"instance":{"hostName":"h","port":{"$":70000}}}"#, "`port`"),
        (Format::Json, r#"{"instance":{"lastDirtyTimestamp":"soon"}}"#, "`lastDirtyTimestamp`"),
        (Format::Json, r#"{"instance":{"dataCenterInfo":{"name":"Mars"}}}"#, "`dataCenterInfo`"),
        (Format::Xml, "{}", "as XML"),
        (Format::Xml, "<instance>", "too early"),
        (Format::Xml, "<instance></app>", "as XML"),
        (Format::Xml, "<other/>", "`instance`"),
        (Format::Xml, "<instance/><instance/>", "two roots"),
        (Format::Xml, "<!DOCTYPE i [<!ENTITY a \"b\">]><instance/>", "document type"),
        (Format::Xml, "<instance><app>&a;</app></instance>", "unknown entity"),
    ] {
        let error = Instance::decode(format, text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let deep = format!("{}{}", "<a>".repeat(99), "</a>".repeat(99));
    let error = Instance::decode(Format::Xml, deep.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn text_that_no_xml_may_have_cannot_spoil_the_list() {
    let mut instance = spring();
    instance.metadata.insert("bell".into(), "\u{7}\u{0}\u{ffff}x".into());
    let written = Document::Instance(&instance).encode(Format::Xml);
    let read = Instance::decode(Format::Xml, &written).unwrap();
    assert_eq!(read.metadata["bell"], "\u{fffd}\u{fffd}\u{fffd}x");
}

#[test]
fn the_hash_code_counts_the_statuses_in_alphabetical_order() {
    let of = |status| Instance { status, ..Instance::default() };
    let up = of(InstanceStatus::Up);
    let all = [up.clone(), of(InstanceStatus::Down), up, of(InstanceStatus::OutOfService)];
    assert_eq!(Applications::hash_code(all.iter()), "DOWN_1_OUT_OF_SERVICE_1_UP_2_");
    assert_eq!(Applications::hash_code([].iter()), "");
}

#[test]
fn an_instance_without_an_id_is_known_by_its_host() {
    let mut instance = Instance { host_name: "h".into(), ..Instance::default() };
    assert_eq!(instance.id(), "h");
    let metadata = [("instance-id".to_owned(), "i-1".to_owned())].into();
    instance.data_center = Some(DataCenter { name: DataCenterName::Amazon, metadata });
    assert_eq!(instance.id(), "i-1");
    instance.instance_id = "x".into();
    assert_eq!(instance.id(), "x");
}
