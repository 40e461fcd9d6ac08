//! The few pages of a service without a console: what the address itself shows, and where the links in mails lead.
//!
//! Links are relative, so that they hold below any `PUBLIC_URL`. A token comes in the query, because a link can carry
//! nothing else; the script takes it out of the address bar at once, and no page sends a `Referer`.

use actix_web::{
    HttpResponse,
    http::header::{self, ContentType},
};

use super::{access::Access, endpoint::Endpoint};
use crate::endpoint;

/// What a page may load: the script and the style sheet of this service. It may speak to this service alone, and no form
/// is sent without the script, which keeps passwords and tokens out of addresses.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        endpoint!(home_page, Access::Public),
        endpoint!(verify_email_page, Access::Public),
        endpoint!(reset_password_page, Access::Public),
        endpoint!(page_script, Access::Public),
        endpoint!(page_style, Access::Public),
        endpoint!(docs_with_slash, Access::Public),
    ]
}

const INDEX: &str = r#"<h1>starter</h1>
<p>The service is running.</p>
<ul>
<li><a href="api-docs">API documentation</a></li>
<li><a href="api-docs/openapi.json">OpenAPI document</a></li>
<li><a href="health">Health</a></li>
</ul>
"#;

const VERIFY_EMAIL: &str = r#"<h1>Verify your e-mail address</h1>
<form method="post" data-path="api/v1/auth/email/verify" data-done="The address is verified.">
<button>Verify the address</button>
</form>
<p id="answer" role="status"></p>
<noscript><p>This page needs JavaScript.</p></noscript>
<script src="pages/script.js"></script>
"#;

const RESET_PASSWORD: &str = r#"<h1>Set a new password</h1>
<form method="post" data-path="api/v1/auth/password/reset" data-done="The password is set. You can log in with it.">
<label>New password
<input type="password" name="new_password" autocomplete="new-password" required></label>
<button>Set the password</button>
</form>
<p id="answer" role="status"></p>
<noscript><p>This page needs JavaScript.</p></noscript>
<script src="pages/script.js"></script>
"#;

/// Takes the token out of the address bar, and sends it only when the button is pressed: programs that look into mails
/// follow links, and a token works once.
const SCRIPT: &str = r#""use strict";
const token = new URLSearchParams(location.search).get("token") || "";
history.replaceState(null, "", location.pathname);
const form = document.querySelector("form");
const answer = document.getElementById("answer");
if (!token) {
  answer.textContent = "The link is incomplete. Open it as it is in the mail.";
}
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  answer.textContent = "";
  try {
    const response = await fetch(form.dataset.path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...Object.fromEntries(new FormData(form)) }),
    });
    if (response.ok) {
      form.hidden = true;
      answer.textContent = form.dataset.done;
      return;
    }
    const problem = await response.json();
    const errors = (problem.errors || []).map((error) => error.message);
    answer.textContent = errors.length > 0 ? errors.join(" ") : problem.detail;
  } catch {
    answer.textContent = "The service does not answer. Try again.";
  }
  button.disabled = false;
});
"#;

const STYLE: &str = "body { font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 30rem; padding: 0 1rem; }
input { display: block; font: inherit; margin: 0.5rem 0; width: 100%; box-sizing: border-box; padding: 0.4rem; }
button { font: inherit; padding: 0.4rem 1rem; }
";

fn page(title: &str, body: &str) -> HttpResponse {
    let page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <link rel=\"icon\" href=\"data:,\">\n<link rel=\"stylesheet\" href=\"pages/style.css\">\n<main>\n{body}</main>\n"
    );
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .body(page)
}

/// A page with links to what there is.
#[utoipa::path(
    get,
    path = "/",
    tag = "operations",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
async fn home_page() -> HttpResponse {
    page("starter", INDEX)
}

/// The page that mails to new addresses lead to; it sends the token on.
#[utoipa::path(
    get,
    path = "/verify-email",
    tag = "operations",
    params(("token" = Option<String>, Query, description = "From the mail; read by the page itself")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
async fn verify_email_page() -> HttpResponse {
    page("Verify your e-mail address", VERIFY_EMAIL)
}

/// The page that mails about a forgotten password lead to; it sends the token and the new password on.
#[utoipa::path(
    get,
    path = "/reset-password",
    tag = "operations",
    params(("token" = Option<String>, Query, description = "From the mail; read by the page itself")),
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
async fn reset_password_page() -> HttpResponse {
    page("Set a new password", RESET_PASSWORD)
}

/// The script of these pages.
#[utoipa::path(
    get,
    path = "/pages/script.js",
    tag = "operations",
    responses((status = 200, description = "The script", body = String, content_type = "text/javascript"))
)]
async fn page_script() -> HttpResponse {
    HttpResponse::Ok().content_type("text/javascript; charset=utf-8").body(SCRIPT)
}

/// The style sheet of these pages.
#[utoipa::path(
    get,
    path = "/pages/style.css",
    tag = "operations",
    responses((status = 200, description = "The style sheet", body = String, content_type = "text/css"))
)]
async fn page_style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}

/// The documentation, for who types a slash too many.
#[utoipa::path(
    get,
    path = "/api-docs/",
    tag = "operations",
    responses((status = 308, description = "To the page without a slash"))
)]
async fn docs_with_slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "../api-docs")).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_holds_what_its_policy_forbids() {
        for page in [INDEX, VERIFY_EMAIL, RESET_PASSWORD] {
            assert!(
                !page.contains("style=") && !page.contains("onclick") && !page.contains("http"),
                "{page}"
            );
            assert_eq!(page.matches("<script").count(), page.matches("<script src=").count(), "{page}");
        }
    }
}
