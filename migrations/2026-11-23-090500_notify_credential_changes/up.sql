-- Tells every process on this database what it must forget, in the transaction that changes it, also when the
-- change is plain SQL. Only changes that can take a right away notify: NOTIFY makes commits serial, so log-ins
-- and activity must not. More than 50 ids become '*': forget everything.
set local lock_timeout = '5s';

create function notify_credentials(kind text, ids uuid[]) returns void language plpgsql as $$
declare
    one uuid;
begin
    if coalesce(array_length(ids, 1), 0) = 0 then
        return;
    elsif array_length(ids, 1) > 50 then
        perform pg_notify('starter_credentials', '*');
    else
        foreach one in array ids loop
            perform pg_notify('starter_credentials', kind || ':' || one);
        end loop;
    end if;
end
$$;

create function sessions_deleted() returns trigger language plpgsql as $$
begin
    -- What had ended took no right away; so the sweep of thousands says nothing.
    perform notify_credentials('s', (select array_agg(id) from gone where idle_expires_at > now()));
    return null;
end
$$;
create trigger sessions_notify_delete after delete on sessions
    referencing old table as gone for each statement execute function sessions_deleted();

create function sessions_changed() returns trigger language plpgsql as $$
begin
    perform notify_credentials('s', (
        select array_agg(o.id) from was o join is_now n on n.id = o.id
        where (n.token_hash, n.user_id, n.auth_version) is distinct from (o.token_hash, o.user_id, o.auth_version)
            or n.expires_at < o.expires_at or n.idle_expires_at < o.idle_expires_at));
    return null;
end
$$;
create trigger sessions_notify_update after update on sessions
    referencing old table as was new table as is_now for each statement execute function sessions_changed();

create function api_keys_deleted() returns trigger language plpgsql as $$
begin
    perform notify_credentials('k', (select array_agg(id) from gone));
    return null;
end
$$;
create trigger api_keys_notify_delete after delete on api_keys
    referencing old table as gone for each statement execute function api_keys_deleted();

create function api_keys_changed() returns trigger language plpgsql as $$
begin
    perform notify_credentials('k', (
        select array_agg(o.id) from was o join is_now n on n.id = o.id
        where (n.key_hash, n.previous_key_hash, n.previous_expires_at, n.permissions, n.expires_at, n.revoked_at, n.created_by)
            is distinct from
            (o.key_hash, o.previous_key_hash, o.previous_expires_at, o.permissions, o.expires_at, o.revoked_at, o.created_by)));
    return null;
end
$$;
create trigger api_keys_notify_update after update on api_keys
    referencing old table as was new table as is_now for each statement execute function api_keys_changed();

create function users_deleted() returns trigger language plpgsql as $$
begin
    perform notify_credentials('u', (select array_agg(id) from gone));
    return null;
end
$$;
create trigger users_notify_delete after delete on users
    referencing old table as gone for each statement execute function users_deleted();

create function users_changed() returns trigger language plpgsql as $$
begin
    perform notify_credentials('u', (
        select array_agg(o.id) from was o join is_now n on n.id = o.id
        where (n.username, n.email, n.role, n.is_active, n.email_verified, n.auth_version)
            is distinct from (o.username, o.email, o.role, o.is_active, o.email_verified, o.auth_version)));
    return null;
end
$$;
create trigger users_notify_update after update on users
    referencing old table as was new table as is_now for each statement execute function users_changed();

create function credentials_truncated() returns trigger language plpgsql as $$
begin
    perform pg_notify('starter_credentials', '*');
    return null;
end
$$;
create trigger sessions_notify_truncate after truncate on sessions
    for each statement execute function credentials_truncated();
create trigger api_keys_notify_truncate after truncate on api_keys
    for each statement execute function credentials_truncated();
create trigger users_notify_truncate after truncate on users
    for each statement execute function credentials_truncated();
