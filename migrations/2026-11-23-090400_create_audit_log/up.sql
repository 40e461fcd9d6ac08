set local lock_timeout = '5s';

create table audit_log (
    id uuid primary key,
    at timestamptz not null default now(),
    actor_kind text not null constraint audit_log_actor_kind_known check
        (actor_kind in ('anonymous', 'session', 'api_key', 'cli', 'system')),
    -- The user who acted; no foreign key, for the entry outlives the user.
    actor_id uuid,
    -- The session or API key that was used.
    credential_id uuid,
    action text not null check (char_length(action) between 1 and 100),
    target_kind text,
    target_id uuid,
    outcome text not null constraint audit_log_outcome_known check (outcome in ('success', 'failure')),
    ip_address inet,
    request_id text,
    detail jsonb not null default '{}'
);
comment on table audit_log is 'Who did what to whom: append-only, written in the transaction of the act.';
create index audit_log_time on audit_log (at, id);
create index audit_log_target on audit_log (target_id, at) where target_id is not null;
create index audit_log_actor on audit_log (actor_id, at) where actor_id is not null;

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger audit_log_append_only before update on audit_log for each row execute function refuse_change();
