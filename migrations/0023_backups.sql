-- When the database was last backed up, and when it was restored from a backup.

CREATE TABLE last_backup (
    singleton   boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    finished_ts bigint NOT NULL,
    position    bigint NOT NULL,
    size        bigint NOT NULL,
    -- Whether it has the files of media: "all" or "index".
    media       text NOT NULL
);

-- What happened between the positions was undone by restoring a backup: who was told of it has seen
-- what is not there any more.
CREATE TABLE restores (
    restored_ts  bigint PRIMARY KEY,
    backup_ts    bigint NOT NULL,
    lost_after   bigint NOT NULL,
    resumed_from bigint NOT NULL,
    -- Whose devices have been announced to other servers since; null when it is done.
    announced_upto integer DEFAULT 0
);
