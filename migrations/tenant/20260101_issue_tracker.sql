-- People, the projects they work on, and the issues of a project.

CREATE TABLE users (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email      text NOT NULL,
  name       text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

CREATE TABLE projects (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  key        text NOT NULL UNIQUE CHECK (key ~ '^[A-Z]{2,10}$'),
  name       text NOT NULL,
  owner_id   bigint NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX projects_owner_id_idx ON projects (owner_id);

CREATE TABLE issues (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  project_id  bigint NOT NULL REFERENCES projects ON DELETE CASCADE,
  number      int NOT NULL,
  title       text NOT NULL,
  body        text NOT NULL DEFAULT '',
  status      text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'in_progress', 'closed')),
  reporter_id bigint NOT NULL REFERENCES users,
  assignee_id bigint REFERENCES users ON DELETE SET NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  closed_at   timestamptz,
  UNIQUE (project_id, number),
  CHECK ((status = 'closed') = (closed_at IS NOT NULL))
);
CREATE INDEX issues_open_idx ON issues (project_id, created_at DESC) WHERE status <> 'closed';
CREATE INDEX issues_assignee_id_idx ON issues (assignee_id);

-- migrate:down

DROP TABLE issues;
DROP TABLE projects;
DROP TABLE users;
