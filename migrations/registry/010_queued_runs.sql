-- A run may be done by workers: it is `queued` until one leads it, and again when that one has died.

ALTER TABLE tenantctl.runs
  -- Of the job that leads it; null for a run that lives and dies with the process that began it.
  ADD COLUMN job_id uuid,
  DROP CONSTRAINT runs_status_check,
  DROP CONSTRAINT runs_check,
  ADD CONSTRAINT runs_status_check CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'interrupted')),
  ADD CONSTRAINT runs_check CHECK ((status IN ('queued', 'running')) = (finished_at IS NULL));
CREATE INDEX runs_queued_idx ON tenantctl.runs (id) WHERE job_id IS NOT NULL AND finished_at IS NULL;
