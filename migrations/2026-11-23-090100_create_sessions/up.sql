set local lock_timeout = '5s';

create table sessions (
    id uuid primary key,
    user_id uuid not null references users on delete cascade,
    token_hash bytea not null constraint sessions_token_hash_key unique check (octet_length(token_hash) = 32),
    auth_version bigint not null,
    user_agent text check (char_length(user_agent) <= 512),
    ip_address inet,
    last_seen_at timestamptz not null default now(),
    idle_expires_at timestamptz not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint sessions_expire_later check (expires_at > created_at),
    constraint sessions_idle_within_absolute check (idle_expires_at <= expires_at)
);
comment on table sessions is 'Log-ins that are alive; the token itself is never stored, only its SHA-256.';
comment on column sessions.idle_expires_at is 'Slides with use, never beyond expires_at.';
comment on column sessions.expires_at is 'Absolute end, never extended.';
create index sessions_user on sessions (user_id, created_at);
create index sessions_expiry on sessions (idle_expires_at);
create trigger sessions_updated_at before update on sessions for each row execute function set_updated_at();
