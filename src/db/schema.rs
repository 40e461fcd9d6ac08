// @generated automatically by Diesel CLI.

diesel::table! {
    /// Credentials of machines; the key itself is never stored, only its SHA-256.
    api_keys (id) {
        id -> Uuid,
        name -> Text,
        key_hash -> Bytea,
        key_prefix -> Text,
        permissions -> Jsonb,
        created_by -> Uuid,
        expires_at -> Nullable<Timestamptz>,
        last_used_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        previous_key_hash -> Nullable<Bytea>,
        previous_expires_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    /// Who did what to whom: append-only, written in the transaction of the act.
    audit_log (id) {
        id -> Uuid,
        at -> Timestamptz,
        actor_kind -> Text,
        actor_id -> Nullable<Uuid>,
        credential_id -> Nullable<Uuid>,
        action -> Text,
        target_kind -> Nullable<Text>,
        target_id -> Nullable<Uuid>,
        outcome -> Text,
        ip_address -> Nullable<Inet>,
        request_id -> Nullable<Text>,
        detail -> Jsonb,
    }
}

diesel::table! {
    /// When a process last wrote here, every few seconds: that the database takes writes, and how late it was by its clock.
    database_writes (only_row) {
        only_row -> Bool,
        written_at -> Timestamptz,
    }
}

diesel::table! {
    /// Users whose tasks are being cancelled because they were deactivated or deleted.
    departed_users (user_id) {
        user_id -> Uuid,
        is_deleted -> Bool,
        departed_at -> Timestamptz,
        cancel_before -> Timestamptz,
    }
}

diesel::table! {
    /// First answers to requests that carried Idempotency-Key, for 24 hours.
    idempotency_keys (user_id, key) {
        user_id -> Uuid,
        key -> Text,
        request_hash -> Bytea,
        status -> Nullable<Int2>,
        location -> Nullable<Text>,
        body -> Nullable<Bytea>,
        sealed -> Bool,
        created_at -> Timestamptz,
        /// The tasks that a large answer shows; its body is empty, and made anew from them.
        task_ids -> Nullable<Array<Nullable<Uuid>>>,
    }
}

diesel::table! {
    /// Failed log-ins by account and address, keyed by hash so that no identifier is stored.
    login_throttle (bucket) {
        bucket -> Bytea,
        failures -> Int4,
        window_start -> Timestamptz,
        blocked_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// Mails that the tasks of users were enqueued to send on a day (UTC).
    mail_quotas (user_id) {
        user_id -> Uuid,
        day -> Date,
        sent -> Int4,
    }
}

diesel::table! {
    /// Tokens mailed to reset a password or prove an address; only their SHA-256 is kept.
    one_time_tokens (id) {
        id -> Uuid,
        user_id -> Uuid,
        purpose -> Text,
        token_hash -> Bytea,
        sent_to -> Text,
        expires_at -> Timestamptz,
        used_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    /// Queues that were paused or configured; a queue need not be here to be used.
    queues (name) {
        name -> Text,
        paused_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    /// Recurring tasks: each tick is one task, fired by compare-and-swap on next_run_at.
    schedules (id) {
        id -> Uuid,
        name -> Text,
        cron -> Text,
        timezone -> Text,
        task_type -> Text,
        payload -> Json,
        queue -> Text,
        enabled -> Bool,
        missed -> Text,
        next_run_at -> Nullable<Timestamptz>,
        last_run_at -> Nullable<Timestamptz>,
        created_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        /// Why the service disabled the schedule; null when a person did.
        disabled_reason -> Nullable<Text>,
    }
}

diesel::table! {
    /// Log-ins that are alive; the token itself is never stored, only its SHA-256.
    sessions (id) {
        id -> Uuid,
        user_id -> Uuid,
        token_hash -> Bytea,
        auth_version -> Int8,
        user_agent -> Nullable<Text>,
        ip_address -> Nullable<Inet>,
        last_seen_at -> Timestamptz,
        /// Slides with use, never beyond expires_at.
        idle_expires_at -> Timestamptz,
        /// Absolute end, never extended.
        expires_at -> Timestamptz,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    /// Attempts that ended without success. The one under way, or the one that succeeded, is in its task: status, attempt, worker_id, started_at, finished_at.
    task_attempts (task_id, attempt) {
        task_id -> Uuid,
        attempt -> Int4,
        worker_id -> Int8,
        started_at -> Timestamptz,
        finished_at -> Timestamptz,
        outcome -> Text,
        error -> Nullable<Text>,
    }
}

diesel::table! {
    /// What workers claimed: a running task is in the claim that has its lease.
    task_claims (lease) {
        lease -> Int8,
        worker_id -> Int8,
        /// The type of all of them, where only so many of it may run.
        task_type -> Nullable<Text>,
        task_ids -> Array<Nullable<Uuid>>,
        /// The place of the first of the tasks; the others follow.
        first_place -> Int8,
        /// Tasks in places up to this one may have begun, and those up to its worker's.
        begun_to -> Int8,
    }
}

diesel::table! {
    /// Tasks that ended in the last hour, by statement: what is told of this hour is taken from them.
    task_endings (id) {
        id -> Int8,
        at -> Timestamptz,
        task_ids -> Array<Nullable<Uuid>>,
    }
}

diesel::table! {
    /// Changes of tasks in batches, kept for an hour, for those who listen.
    task_events (id) {
        id -> Int8,
        xid -> Int8,
        at -> Timestamptz,
        task_ids -> Array<Nullable<Uuid>>,
        task_types -> Array<Nullable<Text>>,
        queues -> Array<Nullable<Text>>,
        statuses -> Array<Nullable<Text>>,
        attempts -> Array<Nullable<Int4>>,
        progress -> Array<Nullable<Jsonb>>,
        owners -> Array<Nullable<Uuid>>,
    }
}

diesel::table! {
    /// Until when changes of tasks are recorded; processes with listeners move it on.
    task_events_wanted (only_row) {
        only_row -> Bool,
        until -> Timestamptz,
    }
}

diesel::table! {
    /// Work to be done in the background, done, or given up.
    tasks (id) {
        id -> Uuid,
        task_type -> Text,
        queue -> Text,
        payload -> Json,
        status -> Text,
        priority -> Int2,
        run_at -> Timestamptz,
        attempt -> Int4,
        max_attempts -> Int4,
        retry_count -> Int4,
        crashes -> Int4,
        timeout_secs -> Int4,
        lease -> Nullable<Int8>,
        worker_id -> Nullable<Int8>,
        cancel_requested_at -> Nullable<Timestamptz>,
        last_error -> Nullable<Text>,
        progress -> Nullable<Jsonb>,
        result -> Nullable<Jsonb>,
        unique_key -> Nullable<Text>,
        unique_scope -> Nullable<Uuid>,
        request_id -> Nullable<Text>,
        schedule_id -> Nullable<Uuid>,
        created_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        started_at -> Nullable<Timestamptz>,
        finished_at -> Nullable<Timestamptz>,
        /// Which of the small indexes the task is in; null for one that runs or succeeded.
        stage -> Nullable<Text>,
        /// unique_key, for as long as nobody else may have it.
        held_key -> Nullable<Text>,
    }
}

diesel::table! {
    /// People who can log in.
    users (id) {
        id -> Uuid,
        username -> Text,
        username_canon -> Text,
        email -> Text,
        email_canon -> Text,
        password_hash -> Text,
        role -> Text,
        is_active -> Bool,
        email_verified -> Bool,
        /// Sessions carry the value they were made under and die when it moves on.
        auth_version -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        last_login_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// Worker processes that hold a lease; a task whose worker is not here is rescued.
    workers (id) {
        id -> Int8,
        host -> Text,
        pid -> Int4,
        version -> Text,
        task_types -> Array<Nullable<Text>>,
        queues -> Array<Nullable<Text>>,
        started_at -> Timestamptz,
        lease_expires_at -> Timestamptz,
        /// Tasks in places up to this one may have begun.
        begun_to -> Int8,
        /// How long it may give no sign of life.
        lease_secs -> Float8,
    }
}

diesel::joinable!(api_keys -> users (created_by));
diesel::joinable!(idempotency_keys -> users (user_id));
diesel::joinable!(mail_quotas -> users (user_id));
diesel::joinable!(one_time_tokens -> users (user_id));
diesel::joinable!(schedules -> users (created_by));
diesel::joinable!(sessions -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    audit_log,
    database_writes,
    departed_users,
    idempotency_keys,
    login_throttle,
    mail_quotas,
    one_time_tokens,
    queues,
    schedules,
    sessions,
    task_attempts,
    task_claims,
    task_endings,
    task_events,
    task_events_wanted,
    tasks,
    users,
    workers,
);
