//! Schedules: tasks that recur.

use actix::{Handler, Message};

use super::{TaskDispatcher, acts};
use crate::{
    actors::reply::Answer,
    db,
    domain::{
        JsonText, Result, ScheduleId, UserId, audit::Actor, schedule::Schedule,
        schedule_request::ScheduleRequest,
    },
};

/// Schedules, the newest first.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Vec<Schedule>>")]
pub struct ListSchedules {
    /// Those before this one.
    pub before: Option<ScheduleId>,
    /// At most that many.
    pub fetch: i64,
}

impl Handler<ListSchedules> for TaskDispatcher {
    type Result = Answer<Vec<Schedule>>;

    fn handle(&mut self, list: ListSchedules, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move {
            db::schedules::page(&mut *pool.get().await?, list.before, list.fetch).await
        })
    }
}

/// The schedule; [`crate::domain::Error::NotFound`] if there is none.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<Schedule>")]
pub struct FindSchedule(pub ScheduleId);

impl Handler<FindSchedule> for TaskDispatcher {
    type Result = Answer<Schedule>;

    fn handle(&mut self, FindSchedule(id): FindSchedule, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move { db::schedules::find(&mut *pool.get().await?, id).await })
    }
}

/// Makes a schedule; see [`db::schedules::insert`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Schedule>")]
pub struct CreateSchedule {
    /// As it is asked for.
    pub request: ScheduleRequest,
    /// Whose it is.
    pub created_by: Option<UserId>,
    /// By whom.
    pub by: Actor,
}

impl Handler<CreateSchedule> for TaskDispatcher {
    type Result = Answer<Schedule>;

    fn handle(&mut self, message: CreateSchedule, _: &mut Self::Context) -> Self::Result {
        let (pool, intake) = (self.0.pool.clone(), self.0.intake.clone());
        Answer::from_future(async move {
            let check = |task_type: &str, payload: &JsonText| intake.check(task_type, payload);
            let mut connection = pool.get().await?;
            let CreateSchedule { request, created_by, by } = message;
            acts::create_schedule(&mut connection, &by, request, created_by, &check).await
        })
    }
}

/// Changes a schedule; see [`db::schedules::update`].
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Schedule>")]
pub struct UpdateSchedule {
    /// Which.
    pub id: ScheduleId,
    /// What shall change.
    pub request: ScheduleRequest,
    /// By whom.
    pub by: Actor,
}

impl Handler<UpdateSchedule> for TaskDispatcher {
    type Result = Answer<Schedule>;

    fn handle(&mut self, message: UpdateSchedule, _: &mut Self::Context) -> Self::Result {
        let (pool, intake) = (self.0.pool.clone(), self.0.intake.clone());
        Answer::from_future(async move {
            let check = |task_type: &str, payload: &JsonText| intake.check(task_type, payload);
            let mut connection = pool.get().await?;
            acts::update_schedule(&mut connection, &message.by, message.id, message.request, &check).await
        })
    }
}

/// Deletes a schedule. Tasks that it made stay.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<()>")]
pub struct DeleteSchedule {
    /// Which.
    pub id: ScheduleId,
    /// By whom.
    pub by: Actor,
}

impl Handler<DeleteSchedule> for TaskDispatcher {
    type Result = Answer<()>;

    fn handle(&mut self, DeleteSchedule { id, by }: DeleteSchedule, _: &mut Self::Context) -> Self::Result {
        let pool = self.0.pool.clone();
        Answer::from_future(async move { acts::delete_schedule(&mut *pool.get().await?, &by, id).await })
    }
}
