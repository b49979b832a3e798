CREATE TABLE probe_sets (
	fingerprint TEXT NOT NULL, 
	name TEXT, 
	points INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	used_at DATETIME NOT NULL, 
	content BLOB NOT NULL, 
	CONSTRAINT pk_probe_sets PRIMARY KEY (fingerprint)
)
CREATE TABLE spaces (
	"key" TEXT NOT NULL, 
	saved_at DATETIME NOT NULL, 
	content BLOB NOT NULL, 
	CONSTRAINT pk_spaces PRIMARY KEY ("key")
)
CREATE TABLE probe_points (
	probe TEXT NOT NULL, 
	point INTEGER NOT NULL, 
	columns TEXT NOT NULL, 
	text TEXT, 
	link TEXT, 
	CONSTRAINT pk_probe_points PRIMARY KEY (probe, point), 
	CONSTRAINT fk_probe_points_probe_probe_sets FOREIGN KEY(probe) REFERENCES probe_sets (fingerprint) ON DELETE CASCADE
)
CREATE TABLE runs (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	probe TEXT NOT NULL, 
	status TEXT NOT NULL, 
	hparams TEXT NOT NULL, 
	versions TEXT NOT NULL, 
	monitor TEXT, 
	mode TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	ended_at DATETIME, 
	heartbeat_at DATETIME NOT NULL, 
	last_step BIGINT NOT NULL, 
	notes TEXT DEFAULT '[]' NOT NULL, 
	project TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (id), 
	CONSTRAINT uq_runs_project UNIQUE (project, name), 
	CONSTRAINT fk_runs_probe_probe_sets FOREIGN KEY(probe) REFERENCES probe_sets (fingerprint)
)
CREATE INDEX ix_runs_probe ON runs (probe, project)
CREATE TABLE flags (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	epoch BIGINT NOT NULL, 
	layer TEXT, 
	message TEXT NOT NULL, 
	cause TEXT, 
	probability DOUBLE, 
	evidence TEXT NOT NULL, 
	raised_at DATETIME NOT NULL, 
	CONSTRAINT fk_flags_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
CREATE INDEX ix_flags_run_id ON flags (run_id)
CREATE TABLE labels (
	run_id TEXT NOT NULL, 
	label TEXT NOT NULL, 
	cause TEXT, 
	automatic BOOLEAN NOT NULL, 
	labelled_at DATETIME NOT NULL, 
	CONSTRAINT pk_labels PRIMARY KEY (run_id), 
	CONSTRAINT fk_labels_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
CREATE TABLE metrics (
	run_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	epoch BIGINT NOT NULL, 
	value DOUBLE, 
	special TEXT, 
	CONSTRAINT pk_metrics PRIMARY KEY (run_id, name, step), 
	CONSTRAINT fk_metrics_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
CREATE TABLE snapshots (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	run_id TEXT NOT NULL, 
	layer TEXT NOT NULL, 
	step BIGINT NOT NULL, 
	epoch BIGINT NOT NULL, 
	depth INTEGER NOT NULL, 
	diverged BOOLEAN NOT NULL, 
	scalars TEXT NOT NULL, 
	CONSTRAINT uq_snapshots_run_id UNIQUE (run_id, layer, step), 
	CONSTRAINT fk_snapshots_run_id_runs FOREIGN KEY(run_id) REFERENCES runs (id) ON DELETE CASCADE
)
CREATE TABLE rdms (
	snapshot_id INTEGER NOT NULL, 
	scale DOUBLE NOT NULL, 
	sketch BLOB NOT NULL, 
	rdm BLOB NOT NULL, 
	CONSTRAINT pk_rdms PRIMARY KEY (snapshot_id), 
	CONSTRAINT fk_rdms_snapshot_id_snapshots FOREIGN KEY(snapshot_id) REFERENCES snapshots (id) ON DELETE CASCADE
)
