set local lock_timeout = '5s';

-- Counted when a task that sends a mail is enqueued, not when it runs: neither deleting the task nor running it again makes
-- room for another.
create table mail_quotas (
    user_id uuid primary key references users (id) on delete cascade,
    day date not null,
    sent integer not null
);
comment on table mail_quotas is 'Mails that the tasks of users were enqueued to send on a day (UTC).';
