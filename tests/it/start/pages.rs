//! The page at the address itself, and those that mails lead to.

use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;
use starter::domain::letter::Purpose;

use super::skip;
use crate::{
    adversarial::people::mailed,
    support::site::{Site, Told, read},
};

/// Runs the script of a page as a browser does, in as much of a browser as it needs, fills in the form and presses the
/// button. Prints what the address bar and the page show afterwards.
const BROWSER: &str = r#"
const [base, page, password] = process.argv.slice(1);
const [path, query] = page.split("?");
const real = globalThis.fetch;
(async () => {
  const html = await (await real(base + page)).text();
  const attribute = (name) => html.match(new RegExp(`data-${name}="([^"]*)"`))[1];
  const source = html.match(/<script src="([^"]*)"/)[1];
  const script = await (await real(new URL(source, base + path))).text();
  const shown = { bar: null };
  const button = { disabled: false };
  let submit;
  const form = {
    dataset: { path: attribute("path"), done: attribute("done") },
    querySelector: () => button,
    addEventListener: (_, listener) => { submit = listener; },
  };
  const answer = { textContent: "" };
  const document = { querySelector: () => form, getElementById: () => answer };
  const location = { search: query ? "?" + query : "", pathname: path };
  const history = { replaceState: (_, __, to) => { shown.bar = to; } };
  const entered = html.includes("new_password") ? [["new_password", password]] : [];
  const fetch = (to, options) => real(new URL(to, base + path), options);
  class FormData { [Symbol.iterator]() { return entered[Symbol.iterator](); } }
  new Function("document", "location", "history", "fetch", "FormData", script)(document, location, history, fetch, FormData);
  const before = answer.textContent;
  await submit({ preventDefault() {} });
  console.log(JSON.stringify({ bar: shown.bar, before, after: answer.textContent }));
})();
"#;

async fn get(site: &Site, path: &str) -> Told {
    read(site.anonymous(Method::GET, path)).await
}

/// The address bar, and what the page says before and after the button was pressed; `None` without Node.js.
async fn browse(site: &Site, page: &str, password: &str) -> Option<[String; 3]> {
    let base = format!("http://{}", site.address());
    let mut node = Command::new("node");
    node.args(["-e", BROWSER, &base, page, password]).stderr(Stdio::inherit());
    let ran = tokio::task::spawn_blocking(move || node.output()).await.unwrap();
    let Ok(output) = ran else {
        skip("node is not installed");
        return None;
    };
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(["bar", "before", "after"].map(|name| shown[name].as_str().unwrap_or_default().to_owned()))
}

#[actix_rt::test]
async fn the_first_click_leads_to_a_page_with_links_that_hold() {
    let site = Site::open().await;
    let page = get(&site, "/").await;
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/html; charset=utf-8")),
        "{page:?}"
    );
    let links: Vec<_> =
        page.text.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for link in ["api-docs", "api-docs/openapi.json", "pages/style.css"] {
        assert!(links.contains(&link), "{link} is not in {links:?}");
        assert_eq!(
            site.anonymous(Method::GET, &format!("/{link}")).send().await.unwrap().status(),
            200,
            "{link}"
        );
    }
    // The client follows it.
    let docs = site.anonymous(Method::GET, "/api-docs/").send().await.unwrap();
    assert_eq!((docs.status().as_u16(), docs.url().path()), (200, "/api-docs"));
}

#[actix_rt::test]
async fn pages_that_take_a_secret_are_strict() {
    let site = Site::open().await;
    for path in ["/", "/verify-email?token=x", "/reset-password?token=x", "/reset-password"] {
        let page = get(&site, path).await;
        let policy = page.header("content-security-policy").unwrap();
        assert_eq!(page.status, 200, "{page:?}");
        assert!(!policy.contains("unsafe") && policy.contains("script-src 'self'"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"),
            "{policy}"
        );
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert!(!page.text.contains("token=x") && !page.text.contains("<script>"), "{page:?}");
    }
}

#[actix_rt::test]
async fn the_link_in_the_first_mail_verifies_the_address() {
    let site = Site::open().await;
    let token = site.member("alice").await;
    let mail = mailed(&site, "alice", Purpose::VerifyEmail).await;
    let proved = async || site.get("/api/v1/users/me", &token).await.json()["email_verified"].clone();
    assert_eq!(get(&site, &format!("/verify-email?token={mail}")).await.status, 200);
    assert_eq!(proved().await, json!(false), "opening the page alone uses nothing up");

    let Some(shown) = browse(&site, &format!("/verify-email?token={mail}"), "").await else { return };
    assert_eq!(shown, ["/verify-email", "", "The address is verified."]);
    assert_eq!(proved().await, json!(true));
    let [_, _, after] = browse(&site, &format!("/verify-email?token={mail}"), "").await.unwrap();
    assert_eq!(after, "The token is unknown, was used already, or has expired.");
    let [_, before, _] = browse(&site, "/verify-email", "").await.unwrap();
    assert_eq!(before, "The link is incomplete. Open it as it is in the mail.");
}

#[actix_rt::test]
async fn the_link_of_a_forgotten_password_sets_another() {
    let site = Site::open().await;
    site.member("alice").await;
    let mail = mailed(&site, "alice", Purpose::ResetPassword).await;
    let page = format!("/reset-password?token={mail}");
    let Some([_, _, after]) = browse(&site, &page, "short").await else { return };
    assert!(after.contains("12"), "{after}");
    let shown = browse(&site, &page, "another quiet engine hums").await.unwrap();
    assert_eq!(shown, ["/reset-password", "", "The password is set. You can log in with it."]);
    assert_eq!(site.enter("alice", "another quiet engine hums").await.status, 200);
}
