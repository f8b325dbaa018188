CREATE TABLE issues (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  title      text NOT NULL CHECK (title ~ '\S' AND length(title) <= 200),
  closed     boolean NOT NULL DEFAULT false,
  created_at timestamptz NOT NULL DEFAULT now()
);

-- migrate:down

DROP TABLE issues;
