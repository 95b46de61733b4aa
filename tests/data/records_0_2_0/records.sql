




CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are written once', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$;



CREATE FUNCTION public.refuse_draft_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF (to_jsonb(NEW) - 'superseded_at') IS DISTINCT FROM (to_jsonb(OLD) - 'superseded_at') THEN
        RAISE EXCEPTION 'a draft is written once'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;



CREATE FUNCTION public.refuse_review_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF (to_jsonb(NEW) - 'training_consent') IS DISTINCT FROM (to_jsonb(OLD) - 'training_consent')
    THEN
        RAISE EXCEPTION 'a review is written once'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;





CREATE TABLE public.alarms (
    id bigint NOT NULL,
    part text NOT NULL,
    sentence text NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone
);



ALTER TABLE public.alarms ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.alarms_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);



CREATE TABLE public.draft_requests (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_id uuid NOT NULL,
    revision integer NOT NULL,
    bundle text,
    purpose text DEFAULT 'PRIMARY'::text NOT NULL,
    priority smallint NOT NULL,
    due_at timestamp with time zone,
    not_before timestamp with time zone,
    state text DEFAULT 'WAITING'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    detail text DEFAULT ''::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    suspect boolean DEFAULT false NOT NULL,
    claims integer DEFAULT 0 NOT NULL,
    lease_owner text,
    lease_expires_at timestamp with time zone,
    lease_alone boolean DEFAULT false NOT NULL,
    prepared_blob text,
    inputs_digest text,
    preprocessing_digest text,
    provenance jsonb DEFAULT '{}'::jsonb NOT NULL,
    draft_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_draft_requests_end_has_reason CHECK (((state <> ALL (ARRAY['SKIPPED'::text, 'FAILED'::text, 'SUPERSEDED'::text, 'CANCELLED'::text])) OR (reason <> ''::text))),
    CONSTRAINT ck_draft_requests_ended_has_no_lease CHECK (((lease_owner IS NULL) OR (state = ANY (ARRAY['WAITING'::text, 'PREPARED'::text])))),
    CONSTRAINT ck_draft_requests_lease_is_whole CHECK (((lease_owner IS NULL) = (lease_expires_at IS NULL))),
    CONSTRAINT ck_draft_requests_purpose_known CHECK ((purpose = ANY (ARRAY['PRIMARY'::text, 'COMPARISON'::text]))),
    CONSTRAINT ck_draft_requests_state_known CHECK ((state = ANY (ARRAY['WAITING'::text, 'PREPARED'::text, 'DRAFTED'::text, 'SKIPPED'::text, 'FAILED'::text, 'SUPERSEDED'::text, 'CANCELLED'::text])))
);



CREATE TABLE public.drafts (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_id uuid NOT NULL,
    request_id uuid NOT NULL,
    revision integer NOT NULL,
    purpose text NOT NULL,
    status text DEFAULT 'UNREVIEWED'::text NOT NULL,
    text text NOT NULL,
    findings text NOT NULL,
    impression text NOT NULL,
    model_name text NOT NULL,
    model_version text NOT NULL,
    bundle_digest text NOT NULL,
    settings_digest text NOT NULL,
    inputs_digest text NOT NULL,
    notice text NOT NULL,
    prompt text NOT NULL,
    indication text NOT NULL,
    indication_source text NOT NULL,
    views jsonb NOT NULL,
    left_out jsonb NOT NULL,
    notes jsonb NOT NULL,
    timings jsonb NOT NULL,
    tokens text[] NOT NULL,
    token_logprobs real[] NOT NULL,
    cut boolean NOT NULL,
    device text NOT NULL,
    dtype text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    superseded_at timestamp with time zone,
    sentences jsonb,
    CONSTRAINT ck_drafts_begins_with_warning CHECK (starts_with(text, 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED'::text)),
    CONSTRAINT ck_drafts_never_final CHECK ((status = 'UNREVIEWED'::text)),
    CONSTRAINT ck_drafts_purpose_known CHECK ((purpose = ANY (ARRAY['PRIMARY'::text, 'COMPARISON'::text])))
);



CREATE TABLE public.events (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    study_id uuid NOT NULL,
    request_id uuid,
    kind text NOT NULL,
    detail text NOT NULL,
    reason text
);



ALTER TABLE public.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.heartbeats (
    part text NOT NULL,
    owner text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL
);



CREATE TABLE public.holds (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_id uuid NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    opened_at timestamp with time zone DEFAULT now() NOT NULL,
    decision text,
    decided_at timestamp with time zone,
    decided_by text DEFAULT ''::text NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    CONSTRAINT ck_holds_decided_whole CHECK (((decision IS NULL) = (decided_at IS NULL))),
    CONSTRAINT ck_holds_decision_known CHECK (((decision IS NULL) OR (decision = ANY (ARRAY['PROCEED'::text, 'CANCEL'::text])))),
    CONSTRAINT ck_holds_reason_known CHECK ((reason = ANY (ARRAY['PATIENT_MISMATCH'::text, 'CONFLICTING_BYTES'::text, 'CHEST_UNKNOWN'::text, 'VIEW_UNKNOWN'::text, 'AGE_UNKNOWN'::text])))
);



CREATE TABLE public.instances (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_id uuid NOT NULL,
    series_id uuid NOT NULL,
    sop_instance_uid text NOT NULL,
    sop_class_uid text NOT NULL,
    transfer_syntax_uid text NOT NULL,
    state text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    blob text NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    revision integer NOT NULL,
    calling_ae text NOT NULL,
    received_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ck_instances_state_known CHECK ((state = ANY (ARRAY['KEPT'::text, 'SKIPPED'::text, 'CONFLICT'::text, 'MISMATCH'::text])))
);



CREATE TABLE public.refusals (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    calling_ae text NOT NULL,
    sop_class_uid text NOT NULL,
    sop_instance_uid text NOT NULL,
    reason text NOT NULL,
    sentence text NOT NULL
);



ALTER TABLE public.refusals ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.refusals_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.reviews (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_id uuid NOT NULL,
    draft_id uuid NOT NULL,
    decision text NOT NULL,
    reader text NOT NULL,
    findings text DEFAULT ''::text NOT NULL,
    impression text DEFAULT ''::text NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    training_consent boolean DEFAULT false NOT NULL,
    decided_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_reviews_decision_known CHECK ((decision = ANY (ARRAY['SIGNED'::text, 'REJECTED'::text]))),
    CONSTRAINT ck_reviews_has_reader CHECK ((reader ~ '\S'::text)),
    CONSTRAINT ck_reviews_rejected_has_reason_alone CHECK (((decision <> 'REJECTED'::text) OR ((note ~ '\S'::text) AND (findings = ''::text) AND (impression = ''::text) AND (NOT training_consent)))),
    CONSTRAINT ck_reviews_signed_has_text CHECK (((decision <> 'SIGNED'::text) OR ((findings || impression) ~ '\S'::text)))
);



CREATE TABLE public.series (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_id uuid NOT NULL,
    series_instance_uid text NOT NULL,
    modality text NOT NULL
);



CREATE TABLE public.studies (
    id uuid DEFAULT gen_random_uuid() NOT NULL,
    study_instance_uid text NOT NULL,
    patient_id text NOT NULL,
    patient_id_issuer text NOT NULL,
    patient_name text NOT NULL,
    patient_birth_date text NOT NULL,
    patient_sex text NOT NULL,
    accession_number text NOT NULL,
    study_date text NOT NULL,
    study_description text NOT NULL,
    state text DEFAULT 'RECEIVING'::text NOT NULL,
    revision integer DEFAULT 1 NOT NULL,
    priority smallint NOT NULL,
    calling_ae text NOT NULL,
    expected_instances integer,
    first_received_at timestamp with time zone DEFAULT now() NOT NULL,
    last_received_at timestamp with time zone DEFAULT now() NOT NULL,
    released boolean DEFAULT false NOT NULL,
    completed_at timestamp with time zone,
    request_id uuid,
    CONSTRAINT ck_studies_state_known CHECK ((state = ANY (ARRAY['RECEIVING'::text, 'COMPLETE'::text])))
);






INSERT INTO public.alembic_version VALUES
	('0004');



INSERT INTO public.draft_requests VALUES
	('12115af7-2846-4eaa-ac3f-7a316bc546ba', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'DRAFTED', '', '', 0, false, 2, NULL, NULL, false, 'prepared/d0/d0d15d16baee31a61f274ad418aeec42d068093486eceef14b568de8b59a585c.npz', 'd0d15d16baee31a61f274ad418aeec42d068093486eceef14b568de8b59a585c', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.78458681348041002387444559143817588461"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.176805278326240711393328576445368374900"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Follow-up", "indication_source": "request_reason"}', '8cc914b0-846a-4fac-8f09-b1483e946bdf', '2026-11-27 03:15:21.120024+00', '2026-11-27 03:15:22.477186+00'),
	('d6222f0b-969c-42f0-af0f-bb8b1bc63945', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'FAILED', 'UNREADABLE', 'The study lacks a view that this model needs. The pixel data ends early: 100 bytes of 18432.', 1, false, 1, NULL, NULL, false, NULL, NULL, NULL, '{}', NULL, '2026-11-27 03:15:21.120024+00', '2026-11-27 03:15:22.702688+00'),
	('49f3a847-415a-4d5a-a204-9029da9df59f', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'DRAFTED', '', '', 0, false, 2, NULL, NULL, false, 'prepared/1f/1f53ed6b026f8dfc8f24583dc6dfc152575753eabc51e4481c5c2201443e454f.npz', '1f53ed6b026f8dfc8f24583dc6dfc152575753eabc51e4481c5c2201443e454f', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.314373806708640431978146823855369126699"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.202246431928619071451376078527316427943"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Pruritic", "indication_source": "request_reason"}', 'a0476df5-6c67-4f89-a59d-1bd1f8c36281', '2026-11-27 03:15:21.120024+00', '2026-11-27 03:15:22.764682+00'),
	('11d9400a-9eca-468a-b488-5e505bcbf069', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'DRAFTED', '', '', 0, false, 2, NULL, NULL, false, 'prepared/b3/b3eb2dc3a5db2dbdc2419cb0a068e498179712dfb70300509a43d186f885addc.npz', 'b3eb2dc3a5db2dbdc2419cb0a068e498179712dfb70300509a43d186f885addc', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.292045275382882435178196634960220710727"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.17094484211691874704865657937900878236"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Smoker, annual check", "indication_source": "request_reason"}', '4bf0756d-3de6-4aef-8003-c60c0442a81a', '2026-11-27 03:15:21.611869+00', '2026-11-27 03:15:23.395094+00'),
	('c85389d8-8ad8-4831-a803-6a8bb01129b9', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'DRAFTED', '', '', 0, false, 2, NULL, NULL, false, 'prepared/3d/3d5f34b06d8f2bdbfdc80c01f67b25f117d82f796b4cbd17beb955a660993e85.npz', '3d5f34b06d8f2bdbfdc80c01f67b25f117d82f796b4cbd17beb955a660993e85', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.120048529849389406436381586649355524717"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.317759754299999728305828163068422285494"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Abdominal pain", "indication_source": "request_reason"}', 'f678b6e7-0f18-411d-9fdc-8228f4cfd197', '2026-11-27 03:15:21.611869+00', '2026-11-27 03:15:24.11646+00'),
	('c83b710b-b2d6-4d19-9b21-d7c9d24c4a21', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'WAITING', '', '', 0, false, 1, NULL, NULL, false, NULL, NULL, NULL, '{}', NULL, '2026-11-27 03:15:22.122033+00', '2026-11-27 03:15:24.434481+00'),
	('ddd68a6c-d660-4406-b86d-0e109f771884', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'DRAFTED', '', '', 0, false, 2, NULL, NULL, false, 'prepared/89/8949065966bf2172f48a09ee37af1036405b393ca4de1f9af456a32cbc4e0d02.npz', '8949065966bf2172f48a09ee37af1036405b393ca4de1f9af456a32cbc4e0d02', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.188943675956366912476171552690761977229"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Dizziness", "indication_source": "request_reason"}', '06b2ffc4-5858-4873-8823-9b8973360434', '2026-11-27 03:15:21.611869+00', '2026-11-27 03:15:24.470758+00'),
	('d1515c5b-fe7f-4272-a6b4-c27a4e184216', '13b375bd-47f6-43ca-89db-791b9166a691', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'SKIPPED', 'no_films', 'The study has no films. CT Image Storage: not a projection radiograph.', 0, false, 1, NULL, NULL, false, NULL, NULL, NULL, '{}', NULL, '2026-11-27 03:15:22.122033+00', '2026-11-27 03:15:24.55677+00'),
	('697bacc5-e2b1-4803-a40a-97675aca0a88', '65bcd110-1c56-4dff-847f-128e0f39cfe9', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'CANCELLED', 'DECIDED', 'held (PATIENT_MISMATCH), and cancelled by a reader', 0, false, 2, NULL, NULL, false, 'prepared/92/9288c7739a0756bd3a239c48e624e4325ff49752c968ba45970220a6a6defb14.npz', '9288c7739a0756bd3a239c48e624e4325ff49752c968ba45970220a6a6defb14', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.54045257339204702088399602434840194652"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.79388702419049418042418488780252737373"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Fatigue and malaise", "indication_source": "request_reason"}', '8d9c29e0-0a35-4bac-a55c-4b9d06cbf6f9', '2026-11-27 03:15:21.611869+00', '2026-11-27 03:15:41.03671+00'),
	('893ea0e3-17e0-4505-8613-9a6892af9753', '550d6d99-b5e5-4194-b64d-853ed4c72adc', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'PREPARED', '', '', 0, false, 1, NULL, NULL, false, 'prepared/cc/cce3f1958d7d023bb97da57be215bb6d0d878c3c2b38e24cfdee575ccde00380.npz', 'cce3f1958d7d023bb97da57be215bb6d0d878c3c2b38e24cfdee575ccde00380', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.52203558997720222225996026219109851421"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.256189731099783451933049440624068477142"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Positive tuberculin test", "indication_source": "request_reason"}', NULL, '2026-11-27 03:15:45.620803+00', '2026-11-27 03:15:45.813225+00'),
	('60482d60-6aca-40ff-9a63-b0b03f6b5444', '0c92f75f-f697-4629-8237-73b1f63982df', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'WAITING', '', '', 0, false, 0, NULL, NULL, false, NULL, NULL, NULL, '{}', NULL, '2026-11-27 03:15:51.173216+00', '2026-11-27 03:15:51.173216+00'),
	('97407b22-06ad-4944-878b-3664e5f9bcc1', '1d8e91e9-1e14-4f49-accd-94a7341411f7', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'WAITING', '', '', 0, false, 1, 'gpu-1:4712', '2026-11-27 03:25:51.364595+00', false, NULL, NULL, NULL, '{}', NULL, '2026-11-27 03:15:51.173216+00', '2026-11-27 03:15:51.173216+00'),
	('8d770821-53e5-497e-ad1c-d32326be0a2f', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 2, NULL, 'PRIMARY', 2, NULL, NULL, 'DRAFTED', '', '', 0, false, 2, NULL, NULL, false, 'prepared/3e/3ea2d5844b0d514ad9795822dc974b4e9635c733304846149fb958c037d11ea8.npz', '3ea2d5844b0d514ad9795822dc974b4e9635c733304846149fb958c037d11ea8', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.188943675956366912476171552690761977229"}, {"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.1889436759563669124761715526907619772291"}], "left_out": [], "procedure": "XR CHEST PA AND LATERAL", "indication": "Dizziness", "indication_source": "request_reason"}', '3ad08e98-f572-49a4-bb08-bcc3c0402529', '2026-11-27 03:15:30.345118+00', '2026-11-27 03:15:30.792408+00'),
	('bd1c7eb2-1c6c-4c32-9e33-2b09015ab37b', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', 1, NULL, 'PRIMARY', 2, NULL, NULL, 'PREPARED', '', '', 0, false, 2, 'gpu-1:4711', '2026-11-27 03:14:51.316874+00', false, 'prepared/89/89a2d03eea425d3f4f91855e7b1a63a1a7a3a68c23eda969c26da6e577752730.npz', '89a2d03eea425d3f4f91855e7b1a63a1a7a3a68c23eda969c26da6e577752730', '8f6109395783cbcd29d62dda485024d49f23c6a33640b75122bc19b62c71a1fa', '{"notes": [], "views": [{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.79369036520436596414160899131688175020"}], "left_out": [], "procedure": "XR CHEST PA", "indication": "Night sweats", "indication_source": "request_reason"}', NULL, '2026-11-27 03:15:46.104299+00', '2026-11-27 03:15:46.249364+00');



INSERT INTO public.drafts VALUES
	('8cc914b0-846a-4fac-8f09-b1483e946bdf', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '12115af7-2846-4eaa-ac3f-7a316bc546ba', 1, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', 'd0d15d16baee31a61f274ad418aeec42d068093486eceef14b568de8b59a585c', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Follow-up', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.78458681348041002387444559143817588461"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.176805278326240711393328576445368374900"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:22.292411+00', NULL, NULL),
	('a0476df5-6c67-4f89-a59d-1bd1f8c36281', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '49f3a847-415a-4d5a-a204-9029da9df59f', 1, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', '1f53ed6b026f8dfc8f24583dc6dfc152575753eabc51e4481c5c2201443e454f', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Pruritic', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.314373806708640431978146823855369126699"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.202246431928619071451376078527316427943"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:22.680123+00', NULL, NULL),
	('4bf0756d-3de6-4aef-8003-c60c0442a81a', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 1, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', 'b3eb2dc3a5db2dbdc2419cb0a068e498179712dfb70300509a43d186f885addc', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Smoker, annual check', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.292045275382882435178196634960220710727"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.17094484211691874704865657937900878236"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:23.302947+00', NULL, NULL),
	('f678b6e7-0f18-411d-9fdc-8228f4cfd197', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 1, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', '3d5f34b06d8f2bdbfdc80c01f67b25f117d82f796b4cbd17beb955a660993e85', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Abdominal pain', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.120048529849389406436381586649355524717"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.317759754299999728305828163068422285494"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:24.061155+00', NULL, NULL),
	('8d9c29e0-0a35-4bac-a55c-4b9d06cbf6f9', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 1, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', '9288c7739a0756bd3a239c48e624e4325ff49752c968ba45970220a6a6defb14', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Fatigue and malaise', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.54045257339204702088399602434840194652"}, {"why": "ViewPosition \"LL\" says lateral; PatientOrientation \"A\\F\" says lateral; SeriesDescription \"LATERAL\" says lateral", "position": "lateral", "sop_instance_uid": "2.25.79388702419049418042418488780252737373"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:23.641387+00', '2026-11-27 03:15:41.043498+00', NULL),
	('06b2ffc4-5858-4873-8823-9b8973360434', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 'ddd68a6c-d660-4406-b86d-0e109f771884', 1, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', '8949065966bf2172f48a09ee37af1036405b393ca4de1f9af456a32cbc4e0d02', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Dizziness', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.188943675956366912476171552690761977229"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:24.377234+00', '2026-11-27 03:15:30.762599+00', NULL),
	('3ad08e98-f572-49a4-bb08-bcc3c0402529', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '8d770821-53e5-497e-ad1c-d32326be0a2f', 2, 'PRIMARY', 'UNREVIEWED', 'AI-GENERATED DRAFT - NOT REVIEWED BY A RADIOLOGIST - NOT FOR CLINICAL USE UNTIL REVIEWED AND SIGNED

Findings: No model has looked at this film. Impression: This draft was not written by a model.', 'No model has looked at this film.', 'This draft was not written by a model.', 'null', '1', 'e97fab743e9e55f6e677eeb3181f412673dcf9c6b832738322641ba2e895f3d9', 'ce56bf9824827f950bfb19434c526b5e12edfafced3c19cb6b1e0aa834cf7738', '3ea2d5844b0d514ad9795822dc974b4e9635c733304846149fb958c037d11ea8', 'No model: every draft is one fixed sentence, for measuring the way to it.', 'Write the report of this chest radiograph.', 'Dizziness', 'request_reason', '[{"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.188943675956366912476171552690761977229"}, {"why": "SeriesDescription \"PA\" says frontal; ViewPosition \"PA\" says frontal; PatientOrientation \"L\\F\" says frontal", "position": "frontal", "sop_instance_uid": "2.25.1889436759563669124761715526907619772291"}]', '[]', '[]', '{"generate": 0.0}', '{}', '{}', false, 'none', 'none', '2026-11-27 03:15:30.753002+00', NULL, NULL);



INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES
	(1, '2026-11-27 03:15:19.772419+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', NULL, 'ARRIVED', 'film', NULL),
	(2, '2026-11-27 03:15:19.824801+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', NULL, 'ARRIVED', 'film', NULL),
	(3, '2026-11-27 03:15:19.865289+00', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', NULL, 'ARRIVED', 'film', NULL),
	(4, '2026-11-27 03:15:19.904145+00', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', NULL, 'ARRIVED', 'film', NULL),
	(5, '2026-11-27 03:15:19.989366+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', NULL, 'ARRIVED', 'film', NULL),
	(6, '2026-11-27 03:15:20.055635+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', NULL, 'ARRIVED', 'film', NULL),
	(7, '2026-11-27 03:15:20.127676+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', NULL, 'ARRIVED', 'film', NULL),
	(8, '2026-11-27 03:15:20.22089+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', NULL, 'ARRIVED', 'film', NULL),
	(9, '2026-11-27 03:15:20.316943+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', NULL, 'ARRIVED', 'film', NULL),
	(10, '2026-11-27 03:15:20.356154+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', NULL, 'ARRIVED', 'film', NULL),
	(11, '2026-11-27 03:15:20.43279+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', NULL, 'ARRIVED', 'film', NULL),
	(12, '2026-11-27 03:15:20.50775+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', NULL, 'ARRIVED', 'film', NULL),
	(13, '2026-11-27 03:15:20.568321+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', NULL, 'ARRIVED', 'film', NULL),
	(14, '2026-11-27 03:15:20.627685+00', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', NULL, 'ARRIVED', 'film', NULL),
	(15, '2026-11-27 03:15:20.687499+00', '13b375bd-47f6-43ca-89db-791b9166a691', NULL, 'ARRIVED', 'other object', NULL),
	(16, '2026-11-27 03:15:21.164903+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', NULL, 'COMPLETE', 'revision 1', NULL),
	(17, '2026-11-27 03:15:21.236221+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '12115af7-2846-4eaa-ac3f-7a316bc546ba', 'REQUESTED', 'PRIMARY', NULL),
	(18, '2026-11-27 03:15:21.249027+00', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', NULL, 'COMPLETE', 'revision 1', NULL),
	(19, '2026-11-27 03:15:21.276211+00', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', 'd6222f0b-969c-42f0-af0f-bb8b1bc63945', 'REQUESTED', 'PRIMARY', NULL),
	(20, '2026-11-27 03:15:21.285072+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', NULL, 'COMPLETE', 'revision 1', NULL),
	(21, '2026-11-27 03:15:21.336213+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '49f3a847-415a-4d5a-a204-9029da9df59f', 'REQUESTED', 'PRIMARY', NULL),
	(22, '2026-11-27 03:15:21.635724+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', NULL, 'COMPLETE', 'revision 1', NULL),
	(23, '2026-11-27 03:15:21.656953+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 'REQUESTED', 'PRIMARY', NULL),
	(24, '2026-11-27 03:15:21.66842+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '12115af7-2846-4eaa-ac3f-7a316bc546ba', 'CLAIMED', 'prepare by station:1', NULL),
	(25, '2026-11-27 03:15:21.674229+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', NULL, 'COMPLETE', 'revision 1', NULL),
	(26, '2026-11-27 03:15:21.701711+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 'ddd68a6c-d660-4406-b86d-0e109f771884', 'REQUESTED', 'PRIMARY', NULL),
	(27, '2026-11-27 03:15:21.740988+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', NULL, 'COMPLETE', 'revision 1', NULL),
	(28, '2026-11-27 03:15:21.779744+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 'REQUESTED', 'PRIMARY', NULL),
	(29, '2026-11-27 03:15:21.811867+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', NULL, 'COMPLETE', 'revision 1', NULL),
	(30, '2026-11-27 03:15:21.842389+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 'REQUESTED', 'PRIMARY', NULL),
	(31, '2026-11-27 03:15:21.90603+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '12115af7-2846-4eaa-ac3f-7a316bc546ba', 'PREPARED', '', NULL),
	(32, '2026-11-27 03:15:22.15026+00', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', NULL, 'COMPLETE', 'revision 1', NULL),
	(33, '2026-11-27 03:15:22.165597+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '49f3a847-415a-4d5a-a204-9029da9df59f', 'CLAIMED', 'prepare by station:1', NULL),
	(34, '2026-11-27 03:15:22.182805+00', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', 'c83b710b-b2d6-4d19-9b21-d7c9d24c4a21', 'REQUESTED', 'PRIMARY', NULL),
	(35, '2026-11-27 03:15:22.191038+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '12115af7-2846-4eaa-ac3f-7a316bc546ba', 'CLAIMED', 'draft by station:1', NULL),
	(36, '2026-11-27 03:15:22.222891+00', '13b375bd-47f6-43ca-89db-791b9166a691', NULL, 'COMPLETE', 'revision 1', NULL),
	(37, '2026-11-27 03:15:22.273231+00', '13b375bd-47f6-43ca-89db-791b9166a691', 'd1515c5b-fe7f-4272-a6b4-c27a4e184216', 'REQUESTED', 'PRIMARY', NULL),
	(38, '2026-11-27 03:15:22.480471+00', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '12115af7-2846-4eaa-ac3f-7a316bc546ba', 'DRAFTED', 'draft 8cc914b0-846a-4fac-8f09-b1483e946bdf', NULL),
	(39, '2026-11-27 03:15:22.489637+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '49f3a847-415a-4d5a-a204-9029da9df59f', 'PREPARED', '', NULL),
	(40, '2026-11-27 03:15:22.535669+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '49f3a847-415a-4d5a-a204-9029da9df59f', 'CLAIMED', 'draft by station:1', NULL),
	(41, '2026-11-27 03:15:22.593453+00', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', 'd6222f0b-969c-42f0-af0f-bb8b1bc63945', 'CLAIMED', 'prepare by station:1', NULL),
	(42, '2026-11-27 03:15:22.714562+00', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', 'd6222f0b-969c-42f0-af0f-bb8b1bc63945', 'FAILED', 'UNREADABLE: The study lacks a view that this model needs. The pixel data ends early: 100 bytes of 18432.', 'UNREADABLE'),
	(43, '2026-11-27 03:15:22.772108+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '49f3a847-415a-4d5a-a204-9029da9df59f', 'DRAFTED', 'draft a0476df5-6c67-4f89-a59d-1bd1f8c36281', NULL),
	(44, '2026-11-27 03:15:22.838239+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 'CLAIMED', 'prepare by station:1', NULL),
	(45, '2026-11-27 03:15:23.093853+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 'PREPARED', '', NULL),
	(46, '2026-11-27 03:15:23.173792+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 'CLAIMED', 'prepare by station:1', NULL),
	(47, '2026-11-27 03:15:23.176036+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 'CLAIMED', 'draft by station:1', NULL),
	(48, '2026-11-27 03:15:23.421353+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 'DRAFTED', 'draft 4bf0756d-3de6-4aef-8003-c60c0442a81a', NULL),
	(49, '2026-11-27 03:15:23.479886+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 'PREPARED', '', NULL),
	(50, '2026-11-27 03:15:23.548281+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 'CLAIMED', 'draft by station:1', NULL);
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES
	(51, '2026-11-27 03:15:23.559655+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 'CLAIMED', 'prepare by station:1', NULL),
	(52, '2026-11-27 03:15:23.758473+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 'DRAFTED', 'draft 8d9c29e0-0a35-4bac-a55c-4b9d06cbf6f9', NULL),
	(53, '2026-11-27 03:15:23.882446+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 'PREPARED', '', NULL),
	(54, '2026-11-27 03:15:23.961208+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 'ddd68a6c-d660-4406-b86d-0e109f771884', 'CLAIMED', 'prepare by station:1', NULL),
	(55, '2026-11-27 03:15:23.973821+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 'CLAIMED', 'draft by station:1', NULL),
	(56, '2026-11-27 03:15:24.127479+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 'DRAFTED', 'draft f678b6e7-0f18-411d-9fdc-8228f4cfd197', NULL),
	(57, '2026-11-27 03:15:24.190193+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 'ddd68a6c-d660-4406-b86d-0e109f771884', 'PREPARED', '', NULL),
	(58, '2026-11-27 03:15:24.281781+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 'ddd68a6c-d660-4406-b86d-0e109f771884', 'CLAIMED', 'draft by station:1', NULL),
	(59, '2026-11-27 03:15:24.283567+00', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', 'c83b710b-b2d6-4d19-9b21-d7c9d24c4a21', 'CLAIMED', 'prepare by station:1', NULL),
	(60, '2026-11-27 03:15:24.40439+00', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', NULL, 'HELD', 'CHEST_UNKNOWN: Nothing says for certain that it is a chest film.', 'CHEST_UNKNOWN'),
	(61, '2026-11-27 03:15:24.448685+00', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', 'c83b710b-b2d6-4d19-9b21-d7c9d24c4a21', 'LEASE_RELEASED', 'a person must decide: CHEST_UNKNOWN', NULL),
	(62, '2026-11-27 03:15:24.485686+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', 'ddd68a6c-d660-4406-b86d-0e109f771884', 'DRAFTED', 'draft 06b2ffc4-5858-4873-8823-9b8973360434', NULL),
	(63, '2026-11-27 03:15:24.500803+00', '13b375bd-47f6-43ca-89db-791b9166a691', 'd1515c5b-fe7f-4272-a6b4-c27a4e184216', 'CLAIMED', 'prepare by station:1', NULL),
	(64, '2026-11-27 03:15:24.571742+00', '13b375bd-47f6-43ca-89db-791b9166a691', 'd1515c5b-fe7f-4272-a6b4-c27a4e184216', 'SKIPPED', 'no_films: The study has no films. CT Image Storage: not a projection radiograph.', 'no_films'),
	(65, '2026-11-27 03:15:29.086344+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', NULL, 'LATE', 'a late image: revision 2', NULL),
	(66, '2026-11-27 03:15:29.095299+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', NULL, 'ARRIVED', 'film', NULL),
	(67, '2026-11-27 03:15:30.350225+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', NULL, 'COMPLETE', 'revision 2', NULL),
	(68, '2026-11-27 03:15:30.387841+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '8d770821-53e5-497e-ad1c-d32326be0a2f', 'REQUESTED', 'PRIMARY', NULL),
	(69, '2026-11-27 03:15:30.505694+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '8d770821-53e5-497e-ad1c-d32326be0a2f', 'CLAIMED', 'prepare by station:1', NULL),
	(70, '2026-11-27 03:15:30.665954+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '8d770821-53e5-497e-ad1c-d32326be0a2f', 'PREPARED', '', NULL),
	(71, '2026-11-27 03:15:30.707067+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '8d770821-53e5-497e-ad1c-d32326be0a2f', 'CLAIMED', 'draft by station:1', NULL),
	(72, '2026-11-27 03:15:30.800121+00', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '8d770821-53e5-497e-ad1c-d32326be0a2f', 'DRAFTED', 'draft 3ad08e98-f572-49a4-bb08-bcc3c0402529', NULL),
	(73, '2026-11-27 03:15:32.914217+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', NULL, 'HELD', 'PATIENT_MISMATCH: sent by NIGHTDRAFT_SCU', 'PATIENT_MISMATCH'),
	(74, '2026-11-27 03:15:32.921675+00', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', NULL, 'CONFLICT', 'kept aside: PATIENT_MISMATCH', 'PATIENT_MISMATCH'),
	(75, '2026-11-27 03:15:35.916005+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', NULL, 'HELD', 'PATIENT_MISMATCH: sent by NIGHTDRAFT_SCU', 'PATIENT_MISMATCH'),
	(76, '2026-11-27 03:15:35.919414+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', NULL, 'CONFLICT', 'kept aside: PATIENT_MISMATCH', 'PATIENT_MISMATCH'),
	(77, '2026-11-27 03:15:41.024602+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', NULL, 'DECIDED', 'CANCEL by a reader: PATIENT_MISMATCH', NULL),
	(78, '2026-11-27 03:15:41.039042+00', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '697bacc5-e2b1-4803-a40a-97675aca0a88', 'CANCELLED', 'held (PATIENT_MISMATCH), and cancelled by a reader', 'DECIDED'),
	(79, '2026-11-27 03:15:41.710955+00', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '11d9400a-9eca-468a-b488-5e505bcbf069', 'SIGNED', 'by Dr. Example', NULL),
	(80, '2026-11-27 03:15:41.734044+00', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'c85389d8-8ad8-4831-a803-6a8bb01129b9', 'REJECTED', 'by Dr. Example', NULL),
	(81, '2026-11-27 03:15:44.522518+00', '550d6d99-b5e5-4194-b64d-853ed4c72adc', NULL, 'ARRIVED', 'film', NULL),
	(82, '2026-11-27 03:15:44.600499+00', '550d6d99-b5e5-4194-b64d-853ed4c72adc', NULL, 'ARRIVED', 'film', NULL),
	(83, '2026-11-27 03:15:44.663039+00', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', NULL, 'ARRIVED', 'film', NULL),
	(92, '2026-11-27 03:15:50.009726+00', '0c92f75f-f697-4629-8237-73b1f63982df', NULL, 'ARRIVED', 'film', NULL),
	(93, '2026-11-27 03:15:50.132328+00', '0c92f75f-f697-4629-8237-73b1f63982df', NULL, 'ARRIVED', 'film', NULL),
	(94, '2026-11-27 03:15:50.153755+00', '1d8e91e9-1e14-4f49-accd-94a7341411f7', NULL, 'ARRIVED', 'film', NULL),
	(99, '2026-11-27 03:15:54.804654+00', '04fc7215-e2e3-4bb6-a143-b0545a3b2850', NULL, 'ARRIVED', 'film', NULL),
	(100, '2026-11-27 03:15:54.867499+00', '04fc7215-e2e3-4bb6-a143-b0545a3b2850', NULL, 'ARRIVED', 'film', NULL),
	(101, '2026-11-27 03:15:54.929567+00', 'bb4b8103-576b-42a6-9444-cddb5ef3cbec', NULL, 'ARRIVED', 'film', NULL),
	(84, '2026-11-27 03:15:45.641443+00', '550d6d99-b5e5-4194-b64d-853ed4c72adc', NULL, 'COMPLETE', 'revision 1', NULL),
	(85, '2026-11-27 03:15:45.645931+00', '550d6d99-b5e5-4194-b64d-853ed4c72adc', '893ea0e3-17e0-4505-8613-9a6892af9753', 'REQUESTED', 'PRIMARY', NULL),
	(95, '2026-11-27 03:15:51.187922+00', '0c92f75f-f697-4629-8237-73b1f63982df', NULL, 'COMPLETE', 'revision 1', NULL),
	(96, '2026-11-27 03:15:51.197118+00', '0c92f75f-f697-4629-8237-73b1f63982df', '60482d60-6aca-40ff-9a63-b0b03f6b5444', 'REQUESTED', 'PRIMARY', NULL),
	(97, '2026-11-27 03:15:51.208867+00', '1d8e91e9-1e14-4f49-accd-94a7341411f7', NULL, 'COMPLETE', 'revision 1', NULL),
	(98, '2026-11-27 03:15:51.229602+00', '1d8e91e9-1e14-4f49-accd-94a7341411f7', '97407b22-06ad-4944-878b-3664e5f9bcc1', 'REQUESTED', 'PRIMARY', NULL),
	(86, '2026-11-27 03:15:45.715769+00', '550d6d99-b5e5-4194-b64d-853ed4c72adc', '893ea0e3-17e0-4505-8613-9a6892af9753', 'CLAIMED', 'prepare by station:1', NULL),
	(87, '2026-11-27 03:15:45.81417+00', '550d6d99-b5e5-4194-b64d-853ed4c72adc', '893ea0e3-17e0-4505-8613-9a6892af9753', 'PREPARED', '', NULL),
	(90, '2026-11-27 03:15:46.174587+00', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', 'bd1c7eb2-1c6c-4c32-9e33-2b09015ab37b', 'CLAIMED', 'prepare by station:1', NULL),
	(91, '2026-11-27 03:15:46.250378+00', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', 'bd1c7eb2-1c6c-4c32-9e33-2b09015ab37b', 'PREPARED', '', NULL),
	(88, '2026-11-27 03:15:46.112329+00', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', NULL, 'COMPLETE', 'revision 1', NULL);
INSERT INTO public.events OVERRIDING SYSTEM VALUE VALUES
	(89, '2026-11-27 03:15:46.127763+00', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', 'bd1c7eb2-1c6c-4c32-9e33-2b09015ab37b', 'REQUESTED', 'PRIMARY', NULL);



INSERT INTO public.holds VALUES
	('0493e671-d21c-4292-86ae-4cff57318c77', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', 'CHEST_UNKNOWN', 'Nothing says for certain that it is a chest film.', '2026-11-27 03:15:24.374254+00', NULL, NULL, '', ''),
	('6eb669f5-8cdb-4e3d-956e-7350d3b10cd8', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', 'PATIENT_MISMATCH', 'sent by NIGHTDRAFT_SCU', '2026-11-27 03:15:32.872163+00', NULL, NULL, '', ''),
	('291f4ba5-c11c-452b-a968-d50cf87982c6', '65bcd110-1c56-4dff-847f-128e0f39cfe9', 'PATIENT_MISMATCH', 'sent by NIGHTDRAFT_SCU', '2026-11-27 03:15:35.892036+00', 'CANCEL', '2026-11-27 03:15:40.994323+00', 'a reader', '');



INSERT INTO public.instances VALUES
	('bb5f7e44-5a76-4e1c-9041-8e0a6fe032bf', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '4f95c051-cabe-445e-9047-ae20b13ae967', '2.25.78458681348041002387444559143817588461', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/57/5794f213096344d4b2db434fe251db03.dcm', '062066e36e9946b75d3727159ff6393edbf9cd03296f477ed83ea106ee1bacd9', 19786, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:19.714213+00'),
	('d5eec3da-aece-4310-9685-3229af5390bc', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '117c3ad6-b984-49cf-b62f-040d54722f14', '2.25.176805278326240711393328576445368374900', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/54/54796507f5b94e4d916e0dff9d585bb0.dcm', 'fa625fce1065a3d3f27b94a9f725018636fa841f771a58bd85dcba99b53eed8f', 19792, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:19.800697+00'),
	('2a45d96d-273c-4c23-a12c-72bd0a5c4cea', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', '26bf7ead-1f9d-416b-8be5-47c0ca533709', '2.25.89049939884105118295638950411199155396', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/4f/4fa76a0618bd49e095952093180cc712.dcm', 'b89f5666d9248e1692de0427f010eb84760455592cf6a8029584b42b1d67118c', 1460, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:19.843343+00'),
	('dadfa410-7ea6-460d-801c-dd9498ee61cc', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', 'bf758618-6680-47e9-b48e-52c6e8169f2e', '2.25.298659025238722152274582023534170517575', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/64/648a9a84089c47168675c7205e2f6915.dcm', 'f325220b6da94a19cc37b24de323cef93897be59d6a317a1d3f5cb8b6430a5e3', 1454, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:19.895486+00'),
	('87e93657-599c-406f-81ac-687c71ce2463', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '34666aeb-2bf7-4159-be4c-b0e269534ff6', '2.25.314373806708640431978146823855369126699', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/4a/4a46084137044f6aa614f16839d78b30.dcm', '3d103c37d855765d6ebee322aaf3c72c1f989d71004a131ccf0cc47ebf5a1e52', 19794, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:19.968041+00'),
	('52fe777e-c6db-4dbf-976b-0ae50ef5e572', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', 'fd7cbd86-5304-43e1-9914-3fb13f9845eb', '2.25.202246431928619071451376078527316427943', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/ac/ac1419fd8e9344c08969b472eee4402b.dcm', 'dd62df54a9991eb2dda4529d2e022a47577ac8e3b2c19b8721e15b15e19b8efe', 19800, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.044016+00'),
	('38719180-7a78-4da3-960b-871eae5bda02', '65bcd110-1c56-4dff-847f-128e0f39cfe9', 'a58ff329-d235-4391-8ef7-36e1720bf546', '2.25.54045257339204702088399602434840194652', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/56/5658d2e90b44417da1545381dd09d5d5.dcm', '71aa5f3cb2f77634e14922953237878ab6f8d20200fab6347277420b77284247', 19798, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.12052+00'),
	('834a6dfa-a1a6-4de1-986e-04e4c8fe4061', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '62f4e11a-270b-41ce-a2fc-5511580e190e', '2.25.79388702419049418042418488780252737373', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/6b/6bbafe2e91454d3b9789a9a1c48e1c63.dcm', '7d5dfd1d810c9ed25cd51be9215665d084d8e656dbf9fa42e2997c96ebf33793', 19804, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.196346+00'),
	('560439ad-da9a-47f7-95f4-faee0dc752bb', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '57f61042-f57d-44f3-ad33-13be9940d8ad', '2.25.188943675956366912476171552690761977229', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/54/541c516041fd44ccbd21f68efc1e1492.dcm', '3d4ea2bcb0de725249cbfbc1ab7612323a67554ed8ba558006f568c2b037284c', 19764, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.2931+00'),
	('5f218cb0-c8af-440c-964d-e7925955d737', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', 'd2c85243-6160-4e07-80f4-7b134fe6feac', '2.25.292045275382882435178196634960220710727', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/d2/d21e5bb8802149cda0fee25de470b056.dcm', 'f5d9a11084a3c858bfd17b79b7944dc85ffcb4f182a665232e730ad9d142e2ac', 19798, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.343119+00'),
	('d6b4bae3-bab3-4862-a163-bfe23a8e113f', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', 'e5540bc5-abf5-416a-8c75-f677a125ca25', '2.25.17094484211691874704865657937900878236', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/4e/4e3c0f61e8034aa1a0d014c8dfb30539.dcm', 'a32dff2b499ec917b401e8d374f8581a46343f8d2ba0c952fa717c2b2f0f7d45', 19804, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.416673+00'),
	('ed9e5dd8-d25c-40b1-a6d4-996d39ab31d9', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', '738db35f-0772-4ba1-9ce6-98fdebfa9ed2', '2.25.120048529849389406436381586649355524717', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/32/3272949e591e41648b1b5e49939e960c.dcm', '36f2d33c736205b20367a448900ffc391357db7f11466da24dc9db1cff638f0f', 19800, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.500269+00'),
	('528de461-d0df-4892-98c3-ff41edf97a7a', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', '06344a46-5cd6-4654-ab25-f38213bfc37e', '2.25.317759754299999728305828163068422285494', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/09/0900b08b046d433498bfd66e76017868.dcm', '2b318820f36d1eca81bfef66808a6cce5fa43eb3025d40a819616894f82362e0', 19806, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.560141+00'),
	('854204a3-9b30-4201-bf3a-bc5f1d772bd2', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', '8e7f63ce-ce19-46c7-9dd8-b14eefc1f462', '2.25.290464579056843711726964440115615925265', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/c8/c84245693255400fa08fcf0a1943fd2b.dcm', '3a53bbb03d181cc130f5fe2da20b4d70556ad937b8f9abb62cefb678cbac446c', 19746, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.620297+00'),
	('b75fa115-d212-4ab5-89a5-3201818557fd', '13b375bd-47f6-43ca-89db-791b9166a691', 'b7fcd17f-443a-43c0-8c3b-73eb1b975de7', '2.25.198191058257870784440296756484544662609', '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 'SKIPPED', 'CT Image Storage: not a projection radiograph.', 'instances/2026-11-27/ab/ab74ab7c28354e1bb22b7bb70fb790c1.dcm', '8f7a546031cfe5fb9b451e68244bb648ad2ce82e3064990c9d5df67e61b1d94d', 19752, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:20.680165+00'),
	('37bac1c9-fa28-4202-87ae-0b04c40b4370', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '57f61042-f57d-44f3-ad33-13be9940d8ad', '2.25.1889436759563669124761715526907619772291', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/82/829a6ba2b11241a796678454af51bf6d.dcm', 'bd0eb5caa5f825e391dbd62541c5997c86a9c251fe7648488045da5e69bbc0c1', 19768, 2, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:29.077122+00'),
	('12a35d48-cfc1-4bc8-951b-6474205157ad', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '34666aeb-2bf7-4159-be4c-b0e269534ff6', '2.25.3143738067086404319781468238553691266991', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'MISMATCH', '', 'instances/2026-11-27/f7/f7bbd7892e9e4decbf4c966054ba8600.dcm', 'a4d4929ffc24b532df2cccf78b2b2a382170b14032c209422fc4bdfc7f32d88e', 19808, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:32.872163+00'),
	('0ce52b26-8433-480a-99f3-fdaf23786f5e', '65bcd110-1c56-4dff-847f-128e0f39cfe9', 'a58ff329-d235-4391-8ef7-36e1720bf546', '2.25.540452573392047020883996024348401946521', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'MISMATCH', '', 'instances/2026-11-27/af/af80802c21be443b91354dfc88804327.dcm', '21bf41f1bc53305aa924796c4a6f8b148b2a6e29477f96a2445290dd2e6a7e4c', 19808, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:35.892036+00'),
	('44cade83-8ba0-46be-a0d2-6e7d9560f923', '550d6d99-b5e5-4194-b64d-853ed4c72adc', 'e07db339-a094-4765-a7f4-249b3503d0c0', '2.25.52203558997720222225996026219109851421', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/5c/5c921f5753034057bcf31e0c0ab59418.dcm', '6b4c5eecffc261e303f50a7d1d525c6f197982923e3231c7f06ab93de695799d', 19808, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:44.515585+00'),
	('6e6aad80-59c4-4c13-bb52-953d1c9f2520', '550d6d99-b5e5-4194-b64d-853ed4c72adc', 'd9f87126-8f22-4ee2-8b46-c503fc436d0e', '2.25.256189731099783451933049440624068477142', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/62/62da7eebe6274bdfa5871193db84e6c0.dcm', '36e8aca89c57a5efc41c4ae774c6a6f010cebe000eb79a7e0a6271c686095a75', 19814, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:44.588913+00'),
	('3695b6ad-5c69-4154-88a6-aef7c3640f3e', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', 'd4680e29-d70b-4e2e-a6ea-ea6fdda94e49', '2.25.79369036520436596414160899131688175020', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/a1/a12d78ac27f644a798bd6b5da1b48e35.dcm', '58f92198c0e49d27c32d9d6fe765b2f9332e13e8e962d3dfd2dcbe4e93391968', 19762, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:44.656058+00'),
	('7c793a0c-5b24-43f6-a0c3-e7fa4dd3b832', '0c92f75f-f697-4629-8237-73b1f63982df', 'f099ba99-8057-440a-a0a6-240973303006', '2.25.99328272911555001878496916673572468743', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/78/7877673bd5a844c08845a3d345b9e7b7.dcm', '16a1f54deb97551eeb7a0d863ab42f6a2b02da481b48bb9be1763c48d4785da3', 19802, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:49.943718+00'),
	('9db52be4-1220-4e62-aeda-20148dcfd3e1', '0c92f75f-f697-4629-8237-73b1f63982df', 'cf0f2315-c6cc-4d3c-92fd-2e501a383cda', '2.25.54212607629810207876115675846638719683', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/08/08cf56ab2f0249d2b144986242328926.dcm', 'f11292e75c6e2a5242c8e3b170f09fffc0ec489e2c00e5feb4f39ce54ae955bc', 19808, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:50.106249+00'),
	('6ed86aac-947d-4cc3-9ffb-c97c90ae8ba1', '1d8e91e9-1e14-4f49-accd-94a7341411f7', '187fb349-bd62-4bb7-912e-c1408f9cbc21', '2.25.10145639245804222678654165534992029178', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/fb/fbadb3cd18a24cffae2ce0a456ceafa9.dcm', 'f70867c032545cb511c0e2173b3e2845c57b5d7191c93ecee9f73c0150187fe2', 19750, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:50.146515+00'),
	('85f481e0-61b0-46a8-b3de-17e2e651d12d', '04fc7215-e2e3-4bb6-a143-b0545a3b2850', '9205b33b-a40f-4782-a776-c0d02867f750', '2.25.88446073828182560270872027607676033792', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/0e/0ede82e6c9084bddaef8d6a9decae004.dcm', 'c51205939840f12db0035d2a24babedc49b5a099dd36b1a48782d8ab1b9299ff', 19796, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:54.795245+00'),
	('0a998b14-5e3a-4bd9-865f-ad2505fc0461', '04fc7215-e2e3-4bb6-a143-b0545a3b2850', '77cd70ae-4bc5-4c8c-a6ba-f90b47787b43', '2.25.53348914386425322056969376772819967479', '1.2.840.10008.5.1.4.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/10/103b37cafa284d2abca8b1a71306a674.dcm', '8dce63cb5237637833318d2413379d987779e2055e44531adf3875eb7dc72ce0', 19802, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:54.860005+00'),
	('5ec80cb7-d3f3-4126-9be8-294c1a7c0223', 'bb4b8103-576b-42a6-9444-cddb5ef3cbec', 'b04389b0-b5e8-49ad-aba8-2ecb45db765a', '2.25.74940084026893795588925524210425124140', '1.2.840.10008.5.1.4.1.1.1.1', '1.2.840.10008.1.2.1', 'KEPT', '', 'instances/2026-11-27/b2/b2280768554c449785ac0f26024bdbc1.dcm', 'f179b3ad596fe9a53d2fb3416fa7816210341604891e68352bceab8a06b95c53', 19810, 1, 'NIGHTDRAFT_SCU', '2026-11-27 03:15:54.921605+00');






INSERT INTO public.reviews VALUES
	('b8cf273e-664b-49a3-af7b-f4f026e4ddfe', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '4bf0756d-3de6-4aef-8003-c60c0442a81a', 'SIGNED', 'Dr. Example', 'The lungs are clear.', 'No acute disease.', '', false, '2026-11-27 03:15:41.707717+00'),
	('e250eee4-0fbc-47ad-933f-5a22180eb032', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', 'f678b6e7-0f18-411d-9fdc-8228f4cfd197', 'REJECTED', 'Dr. Example', '', '', 'It names the wrong side.', false, '2026-11-27 03:15:41.731292+00');



INSERT INTO public.series VALUES
	('4f95c051-cabe-445e-9047-ae20b13ae967', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '2.25.200607498698302204102972264395017820115', 'CR'),
	('117c3ad6-b984-49cf-b62f-040d54722f14', 'dd744d72-c5f1-474b-bedb-8a1b53c368ec', '2.25.208205484748752697982580502059603163652', 'CR'),
	('26bf7ead-1f9d-416b-8be5-47c0ca533709', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', '2.25.135863118793225867232867701831181039473', 'CR'),
	('bf758618-6680-47e9-b48e-52c6e8169f2e', '9a8025cc-85f5-4ab6-8916-d1f09da505bd', '2.25.190986801319667948678294651918746655452', 'CR'),
	('34666aeb-2bf7-4159-be4c-b0e269534ff6', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '2.25.37852580251659467550726495762776951037', 'DX'),
	('fd7cbd86-5304-43e1-9914-3fb13f9845eb', '0cd9a60c-6344-432d-b84f-fdc90993c8d7', '2.25.277557456545171505915432548880625980529', 'DX'),
	('a58ff329-d235-4391-8ef7-36e1720bf546', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '2.25.134059447405819720472089433796216740510', 'CR'),
	('62f4e11a-270b-41ce-a2fc-5511580e190e', '65bcd110-1c56-4dff-847f-128e0f39cfe9', '2.25.270187000497180961651992767558737982542', 'CR'),
	('57f61042-f57d-44f3-ad33-13be9940d8ad', 'a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '2.25.192637525984318497978933918155739789045', 'DX'),
	('d2c85243-6160-4e07-80f4-7b134fe6feac', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '2.25.210114827136986917109989599695000349460', 'CR'),
	('e5540bc5-abf5-416a-8c75-f677a125ca25', '61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '2.25.309024101616450175809479382563462698753', 'CR'),
	('738db35f-0772-4ba1-9ce6-98fdebfa9ed2', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', '2.25.69712289008772765283361787484479824592', 'DX'),
	('06344a46-5cd6-4654-ab25-f38213bfc37e', '5d5caad2-1b55-4ba7-86bd-b52365f1276f', '2.25.329309242669687022540330163434672868818', 'DX'),
	('8e7f63ce-ce19-46c7-9dd8-b14eefc1f462', '60e5f940-1edc-4d6e-baf8-47e643fe06d4', '2.25.291659167821269926468446038470873545096', 'DX'),
	('b7fcd17f-443a-43c0-8c3b-73eb1b975de7', '13b375bd-47f6-43ca-89db-791b9166a691', '2.25.55383677803149005949087979702544503578', 'CT'),
	('e07db339-a094-4765-a7f4-249b3503d0c0', '550d6d99-b5e5-4194-b64d-853ed4c72adc', '2.25.250451795536191312329826657946550148220', 'DX'),
	('d9f87126-8f22-4ee2-8b46-c503fc436d0e', '550d6d99-b5e5-4194-b64d-853ed4c72adc', '2.25.334804477105766845715683294702327049731', 'DX'),
	('d4680e29-d70b-4e2e-a6ea-ea6fdda94e49', 'c23ea265-b1e7-49d5-afde-c617ecdcc4ae', '2.25.164499051561002769667798946173009413990', 'DX'),
	('f099ba99-8057-440a-a0a6-240973303006', '0c92f75f-f697-4629-8237-73b1f63982df', '2.25.148194660283386325026824543710256451233', 'DX'),
	('cf0f2315-c6cc-4d3c-92fd-2e501a383cda', '0c92f75f-f697-4629-8237-73b1f63982df', '2.25.110300058236938433828221819170567039502', 'DX'),
	('187fb349-bd62-4bb7-912e-c1408f9cbc21', '1d8e91e9-1e14-4f49-accd-94a7341411f7', '2.25.298518266284826194278092678224606390202', 'CR'),
	('9205b33b-a40f-4782-a776-c0d02867f750', '04fc7215-e2e3-4bb6-a143-b0545a3b2850', '2.25.185128039469841231263007423697443020305', 'CR'),
	('77cd70ae-4bc5-4c8c-a6ba-f90b47787b43', '04fc7215-e2e3-4bb6-a143-b0545a3b2850', '2.25.199764239698138864273851654015782734610', 'CR'),
	('b04389b0-b5e8-49ad-aba8-2ecb45db765a', 'bb4b8103-576b-42a6-9444-cddb5ef3cbec', '2.25.118849861992629835251423350147305256670', 'DX');



INSERT INTO public.studies VALUES
	('dd744d72-c5f1-474b-bedb-8a1b53c368ec', '2.25.858674866079307463120897796786241235', 'PHANTOM1', '', 'PHANTOM^1', '19610815', 'F', 'PH1', '20260424', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:19.714213+00', '2026-11-27 03:15:19.822104+00', false, '2026-11-27 03:15:21.154429+00', '12115af7-2846-4eaa-ac3f-7a316bc546ba'),
	('9a8025cc-85f5-4ab6-8916-d1f09da505bd', '2.25.122376698145479092551043862577668640773', 'PHANTOM6', '', 'PHANTOM^6', '19580415', 'M', 'PH6', '20260813', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:19.843343+00', '2026-11-27 03:15:19.903247+00', false, '2026-11-27 03:15:21.241598+00', 'd6222f0b-969c-42f0-af0f-bb8b1bc63945'),
	('0cd9a60c-6344-432d-b84f-fdc90993c8d7', '2.25.154883741027148700149687129654988314288', 'PHANTOM7', '', 'PHANTOM^7', '19660515', 'M', 'PH7', '20261016', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:19.968041+00', '2026-11-27 03:15:20.054914+00', false, '2026-11-27 03:15:21.281817+00', '49f3a847-415a-4d5a-a204-9029da9df59f'),
	('65bcd110-1c56-4dff-847f-128e0f39cfe9', '2.25.92738458108450458977790609506802476361', 'PHANTOM8', '', 'PHANTOM^8', '19490415', 'F', 'PH8', '20260803', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:20.12052+00', '2026-11-27 03:15:20.218742+00', false, '2026-11-27 03:15:21.620215+00', '697bacc5-e2b1-4803-a40a-97675aca0a88'),
	('61b16fc1-44f6-4379-83a7-d7f7ccbc1916', '2.25.26661800424913316359426621128915797309', 'PHANTOM3', '', 'PHANTOM^3', '19740215', 'F', 'PH3', '20260101', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:20.343119+00', '2026-11-27 03:15:20.430382+00', false, '2026-11-27 03:15:21.720232+00', '11d9400a-9eca-468a-b488-5e505bcbf069'),
	('5d5caad2-1b55-4ba7-86bd-b52365f1276f', '2.25.277107375548928239860329929861521915430', 'PHANTOM4', '', 'PHANTOM^4', '19420615', 'F', 'PH4', '20260404', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:20.500269+00', '2026-11-27 03:15:20.567546+00', false, '2026-11-27 03:15:21.803018+00', 'c85389d8-8ad8-4831-a803-6a8bb01129b9'),
	('60e5f940-1edc-4d6e-baf8-47e643fe06d4', '2.25.122771852181212796578951067034810166438', 'PHANTOM5', '', 'PHANTOM^5', '19880915', 'M', 'PH5', '20260915', 'Knee', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:20.620297+00', '2026-11-27 03:15:20.626917+00', false, '2026-11-27 03:15:22.132187+00', 'c83b710b-b2d6-4d19-9b21-d7c9d24c4a21'),
	('13b375bd-47f6-43ca-89db-791b9166a691', '2.25.273801719921788243248422048040779730665', 'PHANTOM15', '', 'PHANTOM^15', '19510815', 'M', 'PH15', '20260707', 'XR CHEST PA', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:20.680165+00', '2026-11-27 03:15:20.686708+00', false, '2026-11-27 03:15:22.209635+00', 'd1515c5b-fe7f-4272-a6b4-c27a4e184216'),
	('a84a45bb-0d6b-4c76-a14e-84fd099ab3fd', '2.25.300270693703678489344592188079773475177', 'PHANTOM2', '', 'PHANTOM^2', '19910715', 'F', 'PH2', '20260122', 'XR CHEST PA AND LATERAL', 'COMPLETE', 2, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:20.2931+00', '2026-11-27 03:15:29.093262+00', false, '2026-11-27 03:15:30.349089+00', '8d770821-53e5-497e-ad1c-d32326be0a2f'),
	('550d6d99-b5e5-4194-b64d-853ed4c72adc', '2.25.53056828959566410627036294444095255022', 'PHANTOM9', '', 'PHANTOM^9', '19830715', 'F', 'PH9', '20260125', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:44.515585+00', '2026-11-27 03:15:44.596928+00', false, '2026-11-27 03:15:45.634727+00', '893ea0e3-17e0-4505-8613-9a6892af9753'),
	('c23ea265-b1e7-49d5-afde-c617ecdcc4ae', '2.25.245035138620745509431847202169936679491', 'PHANTOM10', '', 'PHANTOM^10', '19480915', 'F', 'PH10', '20260122', 'XR CHEST PA', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:44.656058+00', '2026-11-27 03:15:44.662212+00', false, '2026-11-27 03:15:46.109789+00', 'bd1c7eb2-1c6c-4c32-9e33-2b09015ab37b'),
	('0c92f75f-f697-4629-8237-73b1f63982df', '2.25.332021834661279621063287370353445672779', 'PHANTOM11', '', 'PHANTOM^11', '19490215', 'M', 'PH11', '20260526', 'XR CHEST PA AND LATERAL', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:49.943718+00', '2026-11-27 03:15:50.131322+00', false, '2026-11-27 03:15:51.174967+00', '60482d60-6aca-40ff-9a63-b0b03f6b5444'),
	('1d8e91e9-1e14-4f49-accd-94a7341411f7', '2.25.170694227731021508071176166083665107964', 'PHANTOM12', '', 'PHANTOM^12', '19570915', 'M', 'PH12', '20261008', 'XR CHEST PA', 'COMPLETE', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:50.146515+00', '2026-11-27 03:15:50.15283+00', false, '2026-11-27 03:15:51.208018+00', '97407b22-06ad-4944-878b-3664e5f9bcc1'),
	('04fc7215-e2e3-4bb6-a143-b0545a3b2850', '2.25.7110326656153724411308403493725288233', 'PHANTOM13', '', 'PHANTOM^13', '19880315', 'M', 'PH13', '20260924', 'XR CHEST PA AND LATERAL', 'RECEIVING', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:54.795245+00', '2026-11-27 03:15:54.866716+00', false, NULL, NULL),
	('bb4b8103-576b-42a6-9444-cddb5ef3cbec', '2.25.34473853792786122623547930141596395897', 'PHANTOM14', '', 'PHANTOM^14', '19620215', 'M', 'PH14', '20260701', 'XR CHEST PA AND LATERAL', 'RECEIVING', 1, 2, 'NIGHTDRAFT_SCU', NULL, '2026-11-27 03:15:54.921605+00', '2026-11-27 03:15:54.928873+00', false, NULL, NULL);



SELECT pg_catalog.setval('public.alarms_id_seq', 1, false);



SELECT pg_catalog.setval('public.events_id_seq', 101, true);



SELECT pg_catalog.setval('public.refusals_id_seq', 1, false);



ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);



ALTER TABLE ONLY public.alarms
    ADD CONSTRAINT pk_alarms PRIMARY KEY (id);



ALTER TABLE ONLY public.draft_requests
    ADD CONSTRAINT pk_draft_requests PRIMARY KEY (id);



ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT pk_drafts PRIMARY KEY (id);



ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (id);



ALTER TABLE ONLY public.heartbeats
    ADD CONSTRAINT pk_heartbeats PRIMARY KEY (part, owner);



ALTER TABLE ONLY public.holds
    ADD CONSTRAINT pk_holds PRIMARY KEY (id);



ALTER TABLE ONLY public.instances
    ADD CONSTRAINT pk_instances PRIMARY KEY (id);



ALTER TABLE ONLY public.refusals
    ADD CONSTRAINT pk_refusals PRIMARY KEY (id);



ALTER TABLE ONLY public.reviews
    ADD CONSTRAINT pk_reviews PRIMARY KEY (id);



ALTER TABLE ONLY public.series
    ADD CONSTRAINT pk_series PRIMARY KEY (id);



ALTER TABLE ONLY public.studies
    ADD CONSTRAINT pk_studies PRIMARY KEY (id);



ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT uq_drafts_effect UNIQUE (study_id, inputs_digest, bundle_digest, settings_digest, purpose);



ALTER TABLE ONLY public.instances
    ADD CONSTRAINT uq_instances_blob UNIQUE (blob);



ALTER TABLE ONLY public.instances
    ADD CONSTRAINT uq_instances_sop_instance_uid UNIQUE (sop_instance_uid, sha256, study_id, state);



ALTER TABLE ONLY public.series
    ADD CONSTRAINT uq_series_study_id UNIQUE (study_id, series_instance_uid);



ALTER TABLE ONLY public.studies
    ADD CONSTRAINT uq_studies_study_instance_uid UNIQUE (study_instance_uid);



CREATE INDEX ix_draft_requests_claimable ON public.draft_requests USING btree (state, priority, due_at, created_at) WHERE ((state = ANY (ARRAY['WAITING'::text, 'PREPARED'::text])) AND (lease_owner IS NULL));



CREATE INDEX ix_draft_requests_leased ON public.draft_requests USING btree (lease_expires_at) WHERE (lease_owner IS NOT NULL);



CREATE INDEX ix_draft_requests_state ON public.draft_requests USING btree (state);



CREATE INDEX ix_draft_requests_study_id ON public.draft_requests USING btree (study_id);



CREATE INDEX ix_drafts_created_at ON public.drafts USING btree (created_at);



CREATE INDEX ix_events_study_id ON public.events USING btree (study_id);



CREATE INDEX ix_events_work_ended ON public.events USING btree (id) WHERE (kind = ANY (ARRAY['PREPARED'::text, 'DRAFTED'::text, 'FORGIVEN'::text, 'ATTEMPT_FAILED'::text, 'FAILED'::text]));



CREATE INDEX ix_heartbeats_seen_at ON public.heartbeats USING btree (seen_at);



CREATE INDEX ix_holds_study_id ON public.holds USING btree (study_id);



CREATE INDEX ix_instances_study_id ON public.instances USING btree (study_id);



CREATE INDEX ix_refusals_at ON public.refusals USING btree (at);



CREATE INDEX ix_reviews_draft_id ON public.reviews USING btree (draft_id);



CREATE INDEX ix_reviews_study_id ON public.reviews USING btree (study_id, decided_at);



CREATE INDEX ix_studies_accession_number ON public.studies USING btree (accession_number);



CREATE INDEX ix_studies_first_received_at ON public.studies USING btree (first_received_at, id);



CREATE INDEX ix_studies_receiving ON public.studies USING btree (last_received_at) WHERE (state = 'RECEIVING'::text);



CREATE INDEX ix_studies_request_id ON public.studies USING btree (request_id);



CREATE UNIQUE INDEX uq_alarms_open ON public.alarms USING btree (part) WHERE (closed_at IS NULL);



CREATE UNIQUE INDEX uq_draft_requests_open_primary ON public.draft_requests USING btree (study_id) WHERE ((purpose = 'PRIMARY'::text) AND (state = ANY (ARRAY['WAITING'::text, 'PREPARED'::text])));



CREATE UNIQUE INDEX uq_drafts_current_primary ON public.drafts USING btree (study_id) WHERE ((purpose = 'PRIMARY'::text) AND (superseded_at IS NULL));



CREATE UNIQUE INDEX uq_holds_open ON public.holds USING btree (study_id, reason) WHERE (decision IS NULL);



CREATE UNIQUE INDEX uq_instances_standing ON public.instances USING btree (sop_instance_uid) WHERE (state = ANY (ARRAY['KEPT'::text, 'SKIPPED'::text]));



CREATE UNIQUE INDEX uq_reviews_signed ON public.reviews USING btree (draft_id) WHERE (decision = 'SIGNED'::text);



CREATE TRIGGER drafts_kept BEFORE DELETE ON public.drafts FOR EACH ROW EXECUTE FUNCTION public.refuse_change();



CREATE TRIGGER drafts_written_once BEFORE UPDATE ON public.drafts FOR EACH ROW EXECUTE FUNCTION public.refuse_draft_change();



CREATE TRIGGER events_written_once BEFORE DELETE OR UPDATE ON public.events FOR EACH ROW EXECUTE FUNCTION public.refuse_change();



CREATE TRIGGER reviews_kept BEFORE DELETE ON public.reviews FOR EACH ROW EXECUTE FUNCTION public.refuse_change();



CREATE TRIGGER reviews_written_once BEFORE UPDATE ON public.reviews FOR EACH ROW EXECUTE FUNCTION public.refuse_review_change();



ALTER TABLE ONLY public.draft_requests
    ADD CONSTRAINT fk_draft_requests_draft_id_drafts FOREIGN KEY (draft_id) REFERENCES public.drafts(id);



ALTER TABLE ONLY public.draft_requests
    ADD CONSTRAINT fk_draft_requests_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT fk_drafts_request_id_draft_requests FOREIGN KEY (request_id) REFERENCES public.draft_requests(id);



ALTER TABLE ONLY public.drafts
    ADD CONSTRAINT fk_drafts_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.events
    ADD CONSTRAINT fk_events_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.holds
    ADD CONSTRAINT fk_holds_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.instances
    ADD CONSTRAINT fk_instances_series_id_series FOREIGN KEY (series_id) REFERENCES public.series(id);



ALTER TABLE ONLY public.instances
    ADD CONSTRAINT fk_instances_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.reviews
    ADD CONSTRAINT fk_reviews_draft_id_drafts FOREIGN KEY (draft_id) REFERENCES public.drafts(id);



ALTER TABLE ONLY public.reviews
    ADD CONSTRAINT fk_reviews_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.series
    ADD CONSTRAINT fk_series_study_id_studies FOREIGN KEY (study_id) REFERENCES public.studies(id);



ALTER TABLE ONLY public.studies
    ADD CONSTRAINT fk_studies_request_id_draft_requests FOREIGN KEY (request_id) REFERENCES public.draft_requests(id);




