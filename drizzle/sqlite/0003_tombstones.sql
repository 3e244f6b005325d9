CREATE TABLE `tombstones` (
	`path` text PRIMARY KEY NOT NULL
);
