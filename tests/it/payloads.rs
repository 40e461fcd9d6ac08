//! Payloads are text from the request to the database, the answer and the handler.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    db::rows,
    site::{Site, Told, read},
};

/// JSON numbers that do not fit a double, or that doubles or `jsonb` would alter.
const NUMBERS: [&str; 11] = [
    "1.7976931348623157e308",
    "-1.7976931348623157E+308",
    "1e308",
    "1e400",
    "-1e-400",
    "18446744073709551616",
    "-0",
    "0.1",
    "1.0",
    "0.30000000000000004",
    "123456789.123456789123456789",
];

async fn send(site: &Site, path: &str, token: &str, body: String) -> Told {
    let request = site.request(Method::POST, path, token).header("content-type", "application/json");
    read(request.body(body)).await
}

fn hook(data: &str) -> String {
    format!(
        r#"{{"task_type":"webhook.deliver","payload":{{"url":"http://127.0.0.1:1/","event":"e","data":{data}}}}}"#
    )
}

#[actix_rt::test]
async fn every_number_comes_back_digit_for_digit() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let data = format!("[{}]", NUMBERS.join(","));
    let kept = format!(r#""data":{data}"#);

    let told = send(&site, "/api/v1/tasks", &token, hook(&data)).await;
    assert_eq!(told.status, 201, "{told:?}");
    assert!(told.text.contains(&kept), "{told:?}");
    let id = told.text.split('"').nth(3).unwrap().to_owned();
    for path in [format!("/api/v1/tasks/{id}"), "/api/v1/tasks".to_owned()] {
        let shown = site.get(&path, &token).await;
        assert!(shown.status == 200 && shown.text.contains(&kept), "{path}: {shown:?}");
    }
    let cancelled = site.send(Method::POST, &format!("/api/v1/tasks/{id}/cancel"), &token).await;
    assert!(cancelled.status == 200 && cancelled.text.contains(&kept), "{cancelled:?}");
    let stored = rows(&mut site.database.connection().await, "select payload::text as text from tasks").await;
    assert!(stored[0]["text"].as_str().unwrap().contains(&kept), "{stored:?}");

    let batch = format!(r#"{{"tasks":[{},{}]}}"#, hook(&data), hook("1e400"));
    let told = send(&site, "/api/v1/tasks/batch", &token, batch).await;
    assert!(told.status == 201 && told.text.contains(&kept) && told.text.contains("1e400"), "{told:?}");
}

#[actix_rt::test]
async fn so_does_every_number_of_a_schedule() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let data = format!("[{}]", NUMBERS.join(","));
    let body = hook(&data).replacen('{', r#"{"name":"n","cron":"0 3 * * *","#, 1);

    let told = send(&site, "/api/v1/schedules", &token, body).await;
    assert!(told.status == 201 && told.text.contains(&data), "{told:?}");
    let list = site.get("/api/v1/schedules", &token).await;
    assert!(list.status == 200 && list.text.contains(&data), "{list:?}");
}

#[actix_rt::test]
async fn white_space_goes_and_text_stays() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let data = "{ \"b\" : [ 1,\n 2.50 ],\t\"a\": \"x  y \\u00e9 \\\"\" }";
    let told = send(&site, "/api/v1/tasks", &token, hook(data)).await;
    assert!(told.text.contains(r#""data":{"b":[1,2.50],"a":"x  y \u00e9 \""}"#), "{told:?}");
}

#[actix_rt::test]
async fn a_doubled_key_within_a_payload_is_malformed_wherever_it_is() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let noop = |payload: &str| format!(r#"{{"task_type":"noop","payload":{payload}}}"#);
    let doubled = noop(r#"{"sleep_ms":1,"sleep_ms":2}"#);
    for (path, body) in [
        ("/api/v1/tasks", doubled.clone()),
        ("/api/v1/tasks", noop(r#"{"sleep_ms":1,"sleep\u005fms":2}"#)),
        ("/api/v1/tasks", hook(r#"{"a":{"b":1,"b":1}}"#)),
        ("/api/v1/tasks", hook(r#"[[{"a":1,"c":2,"\u0061":3}]]"#)),
        ("/api/v1/tasks/batch", format!(r#"{{"tasks":[{},{doubled}]}}"#, noop("{}"))),
        ("/api/v1/schedules", doubled.replacen('{', r#"{"name":"n","cron":"0 3 * * *","#, 1)),
    ] {
        let told = send(&site, path, &token, body).await;
        assert_eq!((told.status, told.code().as_str()), (400, "malformed_request"), "{told:?}");
        let detail = told.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("a key is there twice") && detail.contains("payload"), "{detail}");
        assert!(!detail.contains("sleep") && !detail.contains("line"), "{detail}");
    }
    assert_eq!(site.database.count("select count(*) from tasks").await, 0);
}

#[actix_rt::test]
async fn half_a_surrogate_and_a_deep_nest_are_malformed_as_in_any_body() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for data in [r#""\ud800""#, r#"{"\udc00":1}"#, &deep] {
        let told = send(&site, "/api/v1/tasks", &token, hook(data)).await;
        assert_eq!((told.status, told.code().as_str()), (400, "malformed_request"), "{told:?}");
    }
}

#[actix_rt::test]
async fn a_payload_beyond_its_limit_is_refused_at_its_field() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let around = r#"{"url":"http://127.0.0.1:1/","event":"e","data":""}"#.len();
    let data = |bytes: usize| format!(r#""{}""#, "x".repeat(bytes - around));

    let fits = hook(&data(65_536)).replace("\"data\"", "  \"data\" \n");
    assert_eq!(send(&site, "/api/v1/tasks", &token, fits).await.status, 201);
    let over = hook(&data(65_537));
    assert_eq!(send(&site, "/api/v1/tasks", &token, over.clone()).await.fields(), ["/payload"]);
    let batch = format!(r#"{{"tasks":[{},{over}]}}"#, hook("1"));
    assert_eq!(send(&site, "/api/v1/tasks/batch", &token, batch).await.fields(), ["/tasks/1/payload"]);
    let schedule = over.replacen('{', r#"{"name":"n","cron":"0 3 * * *","#, 1);
    assert_eq!(send(&site, "/api/v1/schedules", &token, schedule).await.fields(), ["/payload"]);
}

/// Rows that only SQL can write are shown like any other.
#[actix_rt::test]
async fn a_row_that_nobody_can_have_enqueued_hides_no_other() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let good = site.post("/api/v1/tasks", &token, &json!({"task_type": "noop"})).await.json();
    for (n, payload) in [r#"{"n":1e400}"#, r#"{"n":1e9999999}"#, r#"{"a":1,"a":2}"#, r#"{"a":"\ud800"}"#]
        .into_iter()
        .enumerate()
    {
        let columns = "task_type, payload, max_attempts, timeout_secs, status, stage";
        let values = format!("'webhook.deliver', '{payload}', 1, 1, 'scheduled', 'waiting'");
        let sql = format!("insert into tasks (id, {columns}) values (gen_random_uuid(), {values})");
        site.database.sql(&sql).await;
        let schedule = format!(
            "insert into schedules (id, name, cron, task_type, payload, next_run_at)
             values (gen_random_uuid(), 'n{n}', '0 3 * * *', 'webhook.deliver', '{payload}', '2100-01-01')"
        );
        site.database.sql(&schedule).await;
    }

    for (path, rows) in [("/api/v1/tasks", 5), ("/api/v1/schedules", 4)] {
        let list = site.get(path, &token).await;
        assert_eq!(list.status, 200, "{list:?}");
        assert_eq!(list.text.matches(r#""id":"#).count(), rows, "{list:?}");
    }
    let shown = site.get(&format!("/api/v1/tasks/{}", good["id"].as_str().unwrap()), &token).await;
    assert_eq!(shown.json()["payload"], Value::Object(serde_json::Map::new()));
}

/// Tasks of about 60 KB each; every second one compresses well. Returns their ids, the newest first.
async fn large_tasks(site: &Site, token: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..count {
        let data = match n % 2 {
            0 => format!("[0{}]", ",0".repeat(30_000)),
            _ => format!(
                "\"{}\"",
                (0..7_500_u32).map(|n| format!("{:08x}", n.wrapping_mul(2_654_435_761))).collect::<String>()
            ),
        };
        let body = hook(&data).replacen('{', &format!(r#"{{"unique_key":"k{n}","delay_secs":1000,"#), 1);
        let told = send(site, "/api/v1/tasks", token, body).await;
        assert_eq!(told.status, 201, "{}", told.text.len());
        ids.insert(0, told.json()["id"].as_str().unwrap().to_owned());
    }
    ids
}

fn ids_of(items: &Value) -> Vec<String> {
    items["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[actix_rt::test]
async fn a_page_of_large_tasks_ends_early_and_the_next_goes_on() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let ids = large_tasks(&site, &token, 40).await;
    let small = site.post("/api/v1/tasks", &token, &json!({"task_type": "noop"})).await.json();
    let expected: Vec<String> =
        std::iter::once(small["id"].as_str().unwrap().to_owned()).chain(ids).collect();

    let (mut listed, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = site.get(&format!("/api/v1/tasks?limit=100{cursor}"), &token).await;
        assert!(page.status == 200 && page.text.len() < 1_100_000, "{}", page.text.len());
        let page = page.json();
        listed.extend(ids_of(&page));
        pages += 1;
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(listed, expected);
    assert!((3..=4).contains(&pages), "{pages} pages");
}

#[actix_rt::test]
async fn a_short_batch_is_not_answered_with_megabytes() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    large_tasks(&site, &token, 40).await;
    let batch = |keys: Vec<usize>| {
        let tasks: Vec<Value> =
            keys.iter().map(|n| json!({"task_type": "noop", "unique_key": format!("k{n}")})).collect();
        json!({ "tasks": tasks })
    };
    let path = "/api/v1/tasks/batch";

    let same = site.post(path, &token, &batch([vec![100], vec![1; 300]].concat())).await;
    assert_eq!(same.fields(), ["/tasks"]);
    assert_eq!(same.json()["errors"][0]["code"], "answer_too_large");
    assert_eq!(site.post(path, &token, &batch((0..40).collect())).await.fields(), ["/tasks"]);
    assert_eq!(
        site.database.count("select count(*) from tasks where unique_key = 'k100'").await,
        0,
        "all or none"
    );

    let few = site.post(path, &token, &batch(vec![1, 2, 1, 77])).await;
    assert_eq!(few.status, 201, "{}", few.text.len());
    let ids = ids_of(&few.json());
    assert!(ids.len() == 4 && ids[0] == ids[2] && ids[0] != ids[1]);
}

#[actix_rt::test]
async fn a_large_answer_under_a_key_is_kept_as_ids_and_told_again() {
    let site = Site::open().await;
    let (_, token) = site.log_in("root", "admin").await;
    let ids = large_tasks(&site, &token, 4).await;
    let batch = json!({"tasks": (0..4).map(|n| json!({"task_type": "noop", "unique_key": format!("k{n}")})).collect::<Vec<_>>()});
    let under = async |path: &str, body: &Value| {
        let request =
            site.request(Method::POST, path, &token).header("idempotency-key", path.len().to_string());
        read(if body.is_null() { request } else { request.json(body) }).await
    };

    for (path, body, size) in [
        ("/api/v1/tasks/batch".to_owned(), batch, 200_000),
        ("/api/v1/tasks".to_owned(), json!({"task_type": "noop", "unique_key": "k0"}), 60_000),
        (format!("/api/v1/tasks/{}/cancel", ids[3]), Value::Null, 60_000),
    ] {
        let first = under(&path, &body).await;
        assert!(first.text.len() > size, "{path}: {}", first.text.len());
        let again = under(&path, &body).await;
        assert_eq!(
            (again.status, again.header("idempotent-replayed")),
            (first.status, Some("true")),
            "{path}"
        );
        assert!(again.text == first.text, "{path}");
    }
    let kept = "select coalesce(max(octet_length(body)), 0) from idempotency_keys";
    assert!(site.database.count(kept).await <= 65_536);
    assert_eq!(
        site.database.count("select count(*) from idempotency_keys where task_ids is not null").await,
        1
    );
}
