//! `Accounts`: users, their passwords and addresses, and the audit log.
//!
//! Each file tells one story, as free functions that the command-line tool uses too; here is who may ask the actor
//! for what. It holds nothing but the way to the database and to the hashers, so a new one goes on where the
//! last ended.

mod denials;
mod first_admin;
mod letters;
mod login;
mod password;
mod profile;
mod proof;
mod register;
mod reset;
mod tools;
mod turns;
pub mod users;
mod verify;

use std::sync::Arc;

use actix::{Actor, Context, Handler};

pub use self::{
    denials::NoteDenied,
    first_admin::{FirstAdmin, ensure_first_admin, has_admin},
    letters::Secretary,
    login::Authenticate,
    password::ChangePassword,
    profile::{ChangeProfile, DeleteProfile},
    register::Register,
    reset::{RequestReset, ResetPassword},
    tools::Tools,
    users::{ChangeUser, CreateUser, DeleteUser, FindUser, ListAudit, ListUsers, NewUser},
    verify::{ResendVerification, VerifyEmail},
};
use super::{
    live::Live,
    reply::Answer,
    revocation::Revoker,
    sessions::{NewSession, SessionStore},
};
use crate::domain::{User, audit::Entry};

/// The actor. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Accounts {
    tools: Arc<Tools>,
    sessions: Live<SessionStore>,
    revoker: Revoker,
}

impl Accounts {
    /// One that opens sessions at `sessions`, and tells `revoker` what must be forgotten.
    pub fn new(tools: Arc<Tools>, sessions: Live<SessionStore>, revoker: Revoker) -> Self {
        Self { tools, sessions, revoker }
    }
}

impl Actor for Accounts {
    type Context = Context<Self>;
}

crate::vital!(Accounts);

macro_rules! answers {
    ($($message:ty => $answer:ty: $story:path;)*) => {$(
        impl Handler<$message> for Accounts {
            type Result = Answer<$answer>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                Answer::from_future($story(self.clone(), message))
            }
        }
    )*};
}

answers! {
    Register => User: register::answer;
    Authenticate => NewSession: login::answer;
    ChangePassword => (): password::answer;
    RequestReset => (): reset::request;
    ResetPassword => (): reset::redeem;
    VerifyEmail => (): verify::redeem;
    ResendVerification => (): verify::resend;
    ChangeProfile => User: profile::answer_change;
    DeleteProfile => (): profile::answer_delete;
    ListUsers => Vec<User>: users::list;
    FindUser => User: users::find;
    CreateUser => User: users::answer_create;
    ChangeUser => User: users::answer_change;
    DeleteUser => (): users::answer_delete;
    ListAudit => Vec<Entry>: users::audit;
    NoteDenied => (): denials::note;
}
