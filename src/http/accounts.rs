//! `/api/v1/auth`: who becomes a user, how he proves who he is, and what he does about a lost password.

use actix_web::{HttpResponse, http::header, web};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{Access, Endpoint, Identity, Input, Json, Problem, RequestOrigin, sessions::LoggedIn};
use crate::{
    actors::{
        accounts::{
            Accounts, Authenticate, ChangePassword, Register, RequestReset, ResendVerification,
            ResetPassword, VerifyEmail,
        },
        live::Live,
    },
    domain::{
        Action, Email, Login, PresentedPassword, User, Violation, account::Draft, audit::Actor,
        token::OneTimeToken,
    },
    endpoint,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(register, Access::Public).taking_password(),
        endpoint!(login, Access::Public).taking_password(),
        endpoint!(password, Action::ManageAccount).taking_password(),
        endpoint!(forgot, Access::Public).taking_password(),
        endpoint!(reset, Access::Public).taking_password(),
        endpoint!(verify, Access::Public),
        endpoint!(resend, Action::ManageAccount),
    ]
}

/// The actor behind these routes.
pub(super) type Desk = web::Data<Live<Accounts>>;

/// Somebody who wants an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    /// 3 to 32 of the letters a-z, digits, `_` and `-`; letter case is shown and makes no difference.
    #[schema(
        example = "alice",
        min_length = 3,
        max_length = 32,
        pattern = "^[A-Za-z0-9][A-Za-z0-9_-]{1,30}[A-Za-z0-9]$"
    )]
    username: String,
    /// Letter case makes no difference.
    #[schema(example = "alice@example.com", max_length = 254, format = Email)]
    email: String,
    /// At least 12 characters unless configured otherwise, at most 256; not a common one, nor one made of the names.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    password: SecretString,
}

/// Makes an account. A mail asks to confirm the address.
#[utoipa::path(
    post,
    path = "/api/v1/auth/register",
    tag = "auth",
    request_body = Registration,
    responses((status = 201, description = "The new user, at `Location`", body = User))
)]
async fn register(
    body: Json<Registration>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let Registration { username, email, password } = body.into_inner();
    let draft = Draft { username, email, password, role: None };
    let user = desk.ask(Register { draft, actor: Actor::anonymous(from.0) }).await?;
    Ok(created(&user))
}

/// A user who has just been made.
pub(super) fn created(user: &User) -> HttpResponse {
    let location = format!("/api/v1/users/{}", user.id);
    HttpResponse::Created().insert_header((header::LOCATION, location)).json(user)
}

/// Somebody who says who he is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// The username or the e-mail address, in any letter case.
    #[schema(example = "alice")]
    #[schema(value_type = String)]
    login: SecretString,
    /// His password.
    #[schema(value_type = String, format = Password)]
    password: SecretString,
}

/// Logs in with a password.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    request_body = Credentials,
    responses((status = 200, description = "A session. Older ones live on, up to 100", body = LoggedIn))
)]
async fn login(
    body: Json<Credentials>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<web::Json<LoggedIn>, Problem> {
    let Credentials { login, password } = body.into_inner();
    let session = desk.ask(Authenticate {
        login: Login::parse(login.expose_secret()),
        password: PresentedPassword::new(&password),
        actor: Actor::anonymous(from.0),
    });
    Ok(web::Json(session.await?.into()))
}

/// Another password, by somebody who knows the present one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    /// The one that he has.
    #[schema(value_type = String, format = Password)]
    current_password: SecretString,
    /// The one that he wants.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    new_password: SecretString,
}

/// Changes the password of the caller. A wrong current password counts as a failed log-in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/password",
    tag = "auth",
    security(("bearer" = [])),
    request_body = PasswordChange,
    responses((status = 204, description = "Every other session of the user has ended; API keys live on"))
)]
async fn password(
    identity: Identity,
    body: Json<PasswordChange>,
    desk: Desk,
    from: RequestOrigin,
) -> Result<HttpResponse, Problem> {
    let PasswordChange { current_password, new_password } = body.into_inner();
    desk.ask(ChangePassword {
        current: PresentedPassword::new(&current_password),
        new: new_password,
        actor: Actor::of(&identity, from.0),
        by: identity.caller,
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Somebody who does not know his password any more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Forgotten {
    /// The address of the account.
    #[schema(example = "alice@example.com", max_length = 254, format = Email)]
    email: String,
}

impl Input for Forgotten {
    type Output = Email;

    fn validate(self) -> Result<Email, Vec<Violation>> {
        Email::parse_existing(&self.email).map_err(|violation| vec![violation])
    }
}

/// Mails a link that sets a password, if somebody has the address. The answer does not tell.
#[utoipa::path(
    post,
    path = "/api/v1/auth/password/forgot",
    tag = "auth",
    request_body = Forgotten,
    responses((status = 202, description = "Always; at most three mails an hour to one address"))
)]
async fn forgot(body: Json<Forgotten>, desk: Desk, from: RequestOrigin) -> Result<HttpResponse, Problem> {
    let email = body.validate()?;
    desk.ask(RequestReset { email, actor: Actor::anonymous(from.0) }).await?;
    Ok(HttpResponse::Accepted().finish())
}

/// Another password, by somebody who reads the account's mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordReset {
    /// From the link in the mail.
    #[schema(value_type = String, example = "ott_…")]
    token: SecretString,
    /// The password that he wants.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    new_password: SecretString,
}

/// Sets a password by a token that was mailed. It works once, for an hour; a password that is refused does not use it up.
#[utoipa::path(
    post,
    path = "/api/v1/auth/password/reset",
    tag = "auth",
    request_body = PasswordReset,
    responses((status = 204, description = "Every session of the user has ended; he may log in"))
)]
async fn reset(body: Json<PasswordReset>, desk: Desk, from: RequestOrigin) -> Result<HttpResponse, Problem> {
    let PasswordReset { token, new_password } = body.into_inner();
    let token = OneTimeToken::parse(token.expose_secret());
    desk.ask(ResetPassword { token, new: new_password, actor: Actor::anonymous(from.0) }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Proof that somebody reads the account's mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Verification {
    /// From the link in the mail.
    #[schema(value_type = String, example = "ott_…")]
    token: SecretString,
}

/// Proves an address by a token that was mailed to it. It works once, for a day.
#[utoipa::path(
    post,
    path = "/api/v1/auth/email/verify",
    tag = "auth",
    request_body = Verification,
    responses((status = 204, description = "The address is verified"))
)]
async fn verify(body: Json<Verification>, desk: Desk, from: RequestOrigin) -> Result<HttpResponse, Problem> {
    let token = OneTimeToken::parse(body.value.token.expose_secret());
    desk.ask(VerifyEmail { token, actor: Actor::anonymous(from.0) }).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Mails the link that verifies the caller's address once more.
#[utoipa::path(
    post,
    path = "/api/v1/auth/email/resend",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 202, description = "Always; nothing is sent for a verified address, and at most three mails an hour"))
)]
async fn resend(identity: Identity, desk: Desk, from: RequestOrigin) -> Result<HttpResponse, Problem> {
    let actor = Actor::of(&identity, from.0);
    desk.ask(ResendVerification { by: identity.caller, actor }).await?;
    Ok(HttpResponse::Accepted().finish())
}
