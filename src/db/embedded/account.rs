//! Who runs the server: PostgreSQL refuses to run as root.

use std::{
    env, fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
};

use super::{Problem, files::Owner};

/// Taken in this order when root starts the server and no data directory says otherwise.
const PREFERRED: [&str; 5] = ["postgres", "_postgres", "nobody", "daemon", "bin"];

/// The account that runs the server and owns its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    name: String,
    /// Set when this process is root and steps down to it.
    ids: Option<(u32, u32)>,
}

impl Account {
    /// The one for `data`: whoever owns it already, so that a cluster made by an ordinary user can be
    /// started by root too.
    pub(super) fn for_data(data: &Path) -> Result<Self, Problem> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { name: "this user".to_owned(), ids: None });
        }

        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        // Not where a link leads: the user who made it would choose the account.
        if let Ok(metadata) = fs::symlink_metadata(data)
            && metadata.uid() != 0
        {
            if !metadata.is_dir() {
                return Err(Problem::NotOurs { path: data.to_owned(), what: "is a link, or no directory" });
            }
            let name = entries(&passwd).find(|e| e.1 == metadata.uid()).map_or("unnamed", |e| e.0);
            return Ok(Self { name: name.to_owned(), ids: Some((metadata.uid(), metadata.gid())) });
        }
        preferred(&passwd).ok_or(Problem::NoAccount)
    }

    /// `program`, run as this account in `directory`.
    pub(super) fn command(&self, program: &Path, directory: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(directory).stdin(Stdio::null());
        without_secrets(&mut command);
        if let Some((uid, gid)) = self.ids {
            // Without root's supplementary groups: std clears them when it sets the user.
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Whom its files belong to.
    pub(super) fn owner(&self) -> Owner {
        let own = || (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (uid, gid) = self.ids.unwrap_or_else(own);
        Owner { uid, gid }
    }

    /// Whether `metadata` is of something that belongs to the account.
    pub(super) fn owns(&self, metadata: &fs::Metadata) -> bool {
        metadata.uid() == self.owner().uid
    }

    /// Whether the account can enter `directory`; tried, since access lists and the like count too.
    pub(super) fn can_enter(&self, directory: &Path) -> bool {
        self.ids.is_none() || self.command(Path::new("true"), directory).status().is_ok_and(|s| s.success())
    }

    /// For messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Takes the environment of this process away: everything that runs as the account of a process can read its
/// environment, and ours holds secrets. English messages, since some are read here.
pub(super) fn without_secrets(command: &mut Command) {
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC");
    command.envs(env::var_os("PATH").map(|path| ("PATH", path)));
}

fn preferred(passwd: &str) -> Option<Account> {
    let found = PREFERRED.iter().find_map(|name| entries(passwd).find(|e| e.0 == *name && e.1 != 0))?;
    Some(Account { name: found.0.to_owned(), ids: Some((found.1, found.2)) })
}

/// Name, user id and group id of each line of `/etc/passwd`.
fn entries(passwd: &str) -> impl Iterator<Item = (&str, u32, u32)> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        Some((name, uid, fields.next()?.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_steps_down_to_postgres_or_else_to_nobody() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        assert_eq!(preferred(passwd).unwrap().ids, Some((65534, 65534)));
        let with = format!("{passwd}postgres:x:101:104::/var/lib/postgresql:/bin/sh\n");
        assert_eq!(preferred(&with).unwrap().ids, Some((101, 104)));
        assert_eq!(preferred("root:x:0:0::/:/bin/sh\npostgres:x:0:0::/:/bin/sh\n"), None);
    }
}
