set local lock_timeout = '5s';

create table api_keys (
    id uuid primary key,
    name text not null check (char_length(name) between 1 and 100),
    key_hash bytea not null constraint api_keys_key_hash_key unique check (octet_length(key_hash) = 32),
    key_prefix text not null,
    permissions jsonb not null default '[]' constraint api_keys_permissions_list check (jsonb_typeof(permissions) = 'array'),
    created_by uuid not null references users on delete cascade,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    -- Rotation: the secret before this one, good until its grace ends.
    previous_key_hash bytea constraint api_keys_previous_key_hash_key unique check (octet_length(previous_key_hash) = 32),
    previous_expires_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint api_keys_previous_whole check ((previous_key_hash is null) = (previous_expires_at is null))
);
comment on table api_keys is 'Credentials of machines; the key itself is never stored, only its SHA-256.';
create index api_keys_owner on api_keys (created_by, created_at, id);
-- Not by use: last_used_at is no change of the key.
create trigger api_keys_updated_at before update of
    name, key_hash, key_prefix, permissions, created_by, expires_at, revoked_at, previous_key_hash, previous_expires_at
    on api_keys for each row execute function set_updated_at();
