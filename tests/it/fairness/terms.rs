//! What a user may ask for that is no administrator.

use serde_json::{Value, json};
use starter::domain::Permission;

use crate::support::site::{Site, Told};

async fn enqueue(site: &Site, token: &str, field: &str, value: Value) -> Told {
    let mut body = json!({"task_type": "noop"});
    body[field] = value;
    site.post("/api/v1/tasks", token, &body).await
}

#[actix_rt::test]
async fn a_priority_above_0_is_for_administrators() {
    let site = Site::open().await;
    let (alice_id, alice) = site.log_in("alice", "user").await;
    let (admin_id, admin) = site.log_in("admin", "admin").await;
    let user_key = site.key(alice_id, &[Permission::TasksWrite]).await;
    let admin_key = site.key(admin_id, &[Permission::TasksWrite]).await;

    for token in [&alice, &user_key] {
        for priority in [1, 100] {
            let refused = enqueue(&site, token, "priority", json!(priority)).await;
            assert_eq!(refused.fields(), ["/priority"], "{priority}");
        }
        for priority in [0, -1, -100] {
            assert_eq!(enqueue(&site, token, "priority", json!(priority)).await.status, 201, "{priority}");
        }
        let batch =
            json!({"tasks": [{"task_type": "noop"}, {"task_type": "noop", "priority": 1, "queue": "No"}]});
        let fields = site.post("/api/v1/tasks/batch", token, &batch).await.fields();
        assert_eq!(fields, ["/tasks/1/queue", "/tasks/1/priority"]);
    }
    for token in [&admin, &admin_key] {
        assert_eq!(enqueue(&site, token, "priority", json!(100)).await.status, 201);
    }

    // A key has the present role of its owner.
    site.database.sql("update users set role = 'user' where username = 'admin'").await;
    assert_eq!(enqueue(&site, &admin_key, "priority", json!(1)).await.fields(), ["/priority"]);
}

#[actix_rt::test]
async fn a_time_out_is_at_most_what_the_type_allows() {
    let site = Site::open().await;
    let (_, alice) = site.log_in("alice", "user").await;
    let (_, admin) = site.log_in("admin", "admin").await;
    let types = site.get("/api/v1/tasks/types", &alice).await.json();
    for known in types["items"].as_array().unwrap() {
        let longest = known["max_timeout_secs"].as_i64().unwrap();
        assert!(longest >= known["defaults"]["timeout_secs"].as_i64().unwrap(), "{known}");
        assert!(longest <= 3600, "{known}");
    }

    for token in [&alice, &admin] {
        for secs in [3601, 86_400, 86_401] {
            let refused = enqueue(&site, token, "timeout_secs", json!(secs)).await;
            assert_eq!(refused.fields(), ["/timeout_secs"], "{secs}");
        }
        assert_eq!(enqueue(&site, token, "timeout_secs", json!(3600)).await.status, 201);
    }
}
