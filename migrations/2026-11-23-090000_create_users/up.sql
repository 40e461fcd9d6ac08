-- Every migration waits at most this long for a lock, so that it cannot stop the running version behind it.
set local lock_timeout = '5s';

create function set_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end
$$;

create table users (
    id uuid primary key,
    username text not null check (char_length(username) between 1 and 64),
    -- Canonical forms are made in one place, domain/: SQL never lower-cases.
    username_canon text not null constraint users_username_key unique,
    email text not null check (octet_length(email) <= 320),
    email_canon text not null constraint users_email_key unique,
    password_hash text not null,
    role text not null default 'user' constraint users_role_known check (role in ('admin', 'user')),
    is_active boolean not null default true,
    email_verified boolean not null default false,
    -- Bumped by a new password, a deactivation and logout-all: a session made in a race with one is dead on arrival.
    auth_version bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    last_login_at timestamptz
);
comment on table users is 'People who can log in.';
comment on column users.auth_version is 'Sessions carry the value they were made under and die when it moves on.';
create index users_created on users (created_at, id);
create index users_active_admins on users (id) where role = 'admin' and is_active;
-- Not by a log-in: last_login_at is no change of the user.
create trigger users_updated_at before update of
    username, username_canon, email, email_canon, password_hash, role, is_active, email_verified, auth_version
    on users for each row execute function set_updated_at();

create table one_time_tokens (
    id uuid primary key,
    user_id uuid not null references users on delete cascade,
    purpose text not null constraint one_time_tokens_purpose_known check (purpose in ('verify_email', 'reset_password')),
    token_hash bytea not null constraint one_time_tokens_hash_key unique check (octet_length(token_hash) = 32),
    -- Bound to the address it was mailed to: a changed address voids it.
    sent_to text not null,
    expires_at timestamptz not null,
    used_at timestamptz,
    created_at timestamptz not null default now(),
    constraint one_time_tokens_one_per_purpose unique (user_id, purpose)
);
comment on table one_time_tokens is 'Tokens mailed to reset a password or prove an address; only their SHA-256 is kept.';
create index one_time_tokens_expiry on one_time_tokens (expires_at);

-- Lost in a crash, and that is right: it only counts recent failures.
create unlogged table login_throttle (
    bucket bytea primary key,
    failures int not null default 0,
    window_start timestamptz not null default now(),
    blocked_until timestamptz
) with (fillfactor = 70);
comment on table login_throttle is 'Failed log-ins by account and address, keyed by hash so that no identifier is stored.';
create index login_throttle_age on login_throttle (window_start);
