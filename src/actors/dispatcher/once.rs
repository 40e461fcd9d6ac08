//! Enqueueing under an `Idempotency-Key`: the tasks and the answer that tells of them are stored in one transaction, so a
//! crash leaves both or neither. Requests that come at the same time share the transaction.

use std::{collections::HashMap, fmt};

use actix::{Handler, Message};

use super::{TaskDispatcher, Wake, replays::shown};
use crate::{
    actors::{
        coalesce::{Batch, Limits},
        reply::Answer,
    },
    db::{self, Pool, Transactional as _},
    domain::{
        Error, Result, TaskId, UserId,
        idempotency::{self, IdempotencyKey, Known},
        task::{Enqueued, NewTask},
    },
};

/// Few at a time: a batch of tasks is large.
pub(super) const ONCE: Limits = Limits { statements: 2, items: 8, waiting: 5_000 };

/// One transaction for many requests.
pub(super) struct Once {
    pub(super) pool: Pool,
    pub(super) wake: Wake,
}

/// Tasks, and how to tell of them.
#[derive(Clone)]
pub struct Replayable {
    /// The tasks, at least one.
    pub tasks: Vec<NewTask>,
    /// Makes the answer that is sent now and again later.
    pub render: fn(&[Enqueued]) -> Result<idempotency::Answer>,
}

impl fmt::Debug for Replayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replayable").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(super) struct Item {
    key: IdempotencyKey,
    work: Replayable,
    /// Why the tasks may not be enqueued. A request that was carried out before is answered all the same.
    refused: Option<Error>,
}

/// What all callers with one key are told, each to be compared with what he asked for.
#[derive(Debug, Clone)]
pub(super) struct First {
    known: Known,
    /// The first task of the request that was carried out just now; `None` if it was before.
    made: Option<TaskId>,
    /// Nothing was carried out.
    refused: Option<Error>,
}

impl Batch for Once {
    type Key = (UserId, String);
    type Item = Item;
    type Answer = First;

    async fn run(&self, items: Vec<(Self::Key, Item)>) -> Result<HashMap<Self::Key, First>> {
        let mut pooled = self.pool.get().await?;
        let connection: &mut db::Connection = &mut pooled;
        let (answers, enqueued) =
            connection.transaction(async |connection| carry_out(connection, items).await).await?;
        self.wake.after(&enqueued);
        Ok(answers)
    }

    fn missing(&self) -> Result<First> {
        Err(Error::internal("a request with an idempotency key was not answered"))
    }
}

type Key = (UserId, String);

async fn carry_out(
    connection: &mut db::Connection,
    items: Vec<(Key, Item)>,
) -> Result<(HashMap<Key, First>, Vec<Enqueued>)> {
    let keys: Vec<IdempotencyKey> = items.iter().map(|(_, item)| item.key.clone()).collect();
    let known = db::idempotency::look_up(connection, &keys).await?;
    let mut answers = HashMap::with_capacity(items.len());
    let (mut fresh, mut tasks) = (Vec::new(), Vec::new());
    for ((at, item), known) in items.into_iter().zip(known) {
        if known == Known::Nothing && item.refused.is_some() {
            answers.insert(at, First { known, made: None, refused: item.refused });
        } else if known == Known::Nothing {
            tasks.extend(item.work.tasks.iter().cloned());
            fresh.push((at, item));
        } else {
            answers.insert(at, First { known, made: None, refused: None });
        }
    }
    if fresh.is_empty() {
        return Ok((answers, Vec::new()));
    }
    let enqueued = db::tasks::insert_many(connection, tasks).await?;
    let mut rest = enqueued.as_slice();
    let mut stored = Vec::with_capacity(fresh.len());
    for (at, item) in fresh {
        let (mine, others) = rest.split_at_checked(item.work.tasks.len()).unwrap_or((rest, &[]));
        rest = others;
        let answer = (item.work.render)(mine)?;
        let known = Known::Answered { request_hash: item.key.request_hash, answer: answer.clone() };
        let made = item.work.tasks.first().map(|task| task.id);
        answers.insert(at, First { known, made, refused: None });
        stored.push((item.key, Some(answer)));
    }
    db::idempotency::store(connection, &stored).await?;
    Ok((answers, enqueued))
}

/// Enqueues all of these or none, if the key is new; else tells what the first request was told.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Told>")]
pub struct EnqueueOnce {
    /// The caller's.
    pub key: IdempotencyKey,
    /// What he asks for.
    pub work: Replayable,
}

/// What a caller is told.
#[derive(Debug, Clone)]
pub struct Told {
    /// The answer.
    pub answer: idempotency::Answer,
    /// It was made for an earlier request.
    pub replayed: bool,
}

impl Handler<EnqueueOnce> for TaskDispatcher {
    type Result = Answer<Told>;

    fn handle(&mut self, EnqueueOnce { key, work }: EnqueueOnce, _: &mut Self::Context) -> Self::Result {
        let (once, pool, render) = (self.0.once.clone(), self.0.pool.clone(), work.render);
        let quota = self.0.quota.clone();
        let mine = work.tasks.first().map(|task| task.id);
        Answer::from_future(async move {
            let grant = quota.reserve(&work.tasks).await;
            let refused = match &grant {
                Ok(_) => None,
                Err(error @ Error::QuotaExceeded { .. }) => Some(error.clone()),
                Err(error) => return Err(error.clone()),
            };
            let item = Item { key: key.clone(), work, refused };
            let first = once.ask((key.user, key.text.clone()), item).await?;
            if let Some(error) = first.refused {
                return Err(error);
            }

            let answer = first.known.replay(&key)?;
            let answer = answer.ok_or_else(|| Error::internal("an idempotency key without an answer"))?;
            let replayed = first.made != mine;
            if !answer.lacks_body() {
                return Ok(Told { answer, replayed });
            }
            let answer = render_again(&mut *pool.get().await?, answer, render).await?;
            Ok(Told { answer, replayed })
        })
    }
}

/// Makes the body of an answer of which only the tasks were kept.
///
/// # Errors
/// [`Error::NotFound`] when none of them is there any more.
pub(super) async fn render_again(
    connection: &mut db::Connection,
    answer: idempotency::Answer,
    render: fn(&[Enqueued]) -> Result<idempotency::Answer>,
) -> Result<idempotency::Answer> {
    let tasks = shown(connection, &answer).await?;
    if tasks.is_empty() {
        return Err(Error::NotFound);
    }
    Ok(idempotency::Answer { body: render(&tasks)?.body, ..answer })
}
