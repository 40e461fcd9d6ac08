//! The letters that were ordered, sent to a box in memory by the very task that a worker runs.

use std::sync::{Arc, Mutex};

use diesel::sql_types::{Jsonb, Text, Uuid as SqlUuid};
use diesel_async::RunQueryDsl;
use futures_util::future::BoxFuture;
use starter::{
    actors::accounts::Secretary,
    domain::{TaskId, token::OneTimeToken},
    tasks::{
        Context, Registry, Services,
        mail::{MailProblem, Mailer, Outgoing},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Office;

/// Where people reach the service of these tests.
pub(super) const BASE: &str = "https://starter.example";

#[derive(Debug, Default)]
struct Letterbox(Mutex<Vec<Outgoing>>);

impl Mailer for Letterbox {
    fn send<'a>(&'a self, mail: &'a Outgoing) -> BoxFuture<'a, Result<(), MailProblem>> {
        self.0.lock().unwrap().push(mail.clone());
        Box::pin(async { Ok(()) })
    }
}

#[derive(diesel::QueryableByName)]
struct Ordered {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = Text)]
    task_type: String,
    #[diesel(sql_type = Jsonb)]
    payload: serde_json::Value,
}

impl Office {
    /// What was ordered and not sent yet, oldest first.
    async fn orders(&self) -> Vec<Ordered> {
        let text = "select id, task_type, payload::jsonb as payload from tasks where status = 'pending' order by created_at, id";
        diesel::sql_query(text).load(&mut self.database.connection().await).await.unwrap()
    }

    /// Sends everything that was ordered, each `times` times, as a worker does that dies before it says that it is done.
    pub(super) async fn deliver_again(&self, times: usize) -> Vec<Outgoing> {
        let letterbox = Arc::new(Letterbox::default());
        let secretary = Arc::new(Secretary::new(self.pool.clone(), &format!("{BASE}/")));
        let services = Arc::new(Services {
            mailer: letterbox.clone(),
            letters: secretary.clone(),
            users: secretary,
            ..Services::default()
        });
        for order in self.orders().await {
            assert_eq!(order.task_type, "email.account");
            assert!(!order.payload.to_string().contains("ott_"), "a token is at rest");
            for _ in 0..times {
                let context = Context::new(
                    TaskId(order.id),
                    1,
                    None,
                    None,
                    CancellationToken::new(),
                    Arc::clone(&services),
                    watch::channel(None).0,
                );
                let run = Registry::builtin().start(&order.task_type, &order.payload.clone().into(), context);
                run.await.unwrap();
            }
        }
        self.database.sql("delete from tasks").await;
        std::mem::take(&mut *letterbox.0.lock().unwrap())
    }

    /// Sends everything that was ordered.
    pub(super) async fn deliver(&self) -> Vec<Outgoing> {
        self.deliver_again(1).await
    }
}

/// The token in the link to `page`, which is on a line of its own.
pub(super) fn token(mail: &Outgoing, page: &str) -> OneTimeToken {
    let start = format!("{BASE}/{page}?token=");
    let link = mail.text.lines().find_map(|line| line.strip_prefix(&start));
    OneTimeToken::parse(link.unwrap_or_else(|| panic!("no such link: {}", mail.text))).unwrap()
}
