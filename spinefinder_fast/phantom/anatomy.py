# SPDX-License-Identifier: Apache-2.0
"""Paints a person's tissues within a field of view: bones, organs, muscles, fat and air, level by level.

What tells vertebrae apart in a scan is what is attached to them, so every rib starts at its own vertebra, the lungs
end, the kidneys lie and the pelvis begins at the levels where they do in people, with some variation.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from spinefinder_fast.anatomy import LABELS
from spinefinder_fast.phantom import statistics as st
from spinefinder_fast.phantom.canvas import Canvas, Solid
from spinefinder_fast.phantom.person import Person

Array = NDArray[np.float64]
Parts = list[Solid | None]


class Tissue(IntEnum):
    """Tissues of a map, shape (x, y, z) uint8. BONE is solid bone that has yet to be split (see `image.shell`)."""

    AIR = 0
    LUNG = 1
    FAT = 2
    MUSCLE = 3
    SKIN = 4
    MESENTERY = 5
    ORGAN = 6
    LIVER = 7
    SPLEEN = 8
    KIDNEY = 9
    BLOOD = 10
    HEART = 11
    BOWEL = 12
    GAS = 13
    DISC = 14
    CANAL = 15
    CORD = 16
    TRABECULAR = 17
    CORTICAL = 18
    ENDPLATE = 19
    CARTILAGE = 20
    BRAIN = 21
    TOOTH = 22
    TABLE = 23
    METAL = 24
    BONE = 25
    CEMENT = 26


def _level(name: str) -> int:
    return LABELS[name] - 1


C1, C2, C7, T1, T12, L1, L5, S1, S2 = (_level(n) for n in ("C1", "C2", "C7", "T1", "T12", "L1", "L5", "S1", "S2"))

_SIDES = (1.0, -1.0)

_DENS_TIP = np.array([0.0, -7.5, 7.5])
"""From the centroid of C1, in its own frame, mm: the ligaments of the atlas hold it there. Of three necks."""

WALL_VOXELS = 0.85
"""Thinnest painted wall, in voxels: a thinner one would be gravel. `image.render` makes up for the difference."""

# Half width, reach to the front and to the back of a lean body, mm from the spine, by level (0 = C1).
_OUTLINE = np.array([
    (-1.0, 60, 55, 62), (1.0, 60, 52, 58), (3.0, 58, 52, 56), (4.5, 60, 52, 60), (5.5, 72, 54, 66), (6.3, 105, 58, 70),
    (7.2, 150, 62, 70), (8.0, 170, 72, 72), (9.0, 172, 88, 74), (10.0, 160, 105, 74), (11.5, 152, 122, 74),
    (14.0, 155, 138, 72), (17.0, 155, 138, 72), (19.0, 148, 135, 72), (21.0, 142, 125, 72), (23.0, 152, 112, 72),
    (24.0, 165, 112, 75), (25.0, 172, 115, 78), (27.0, 178, 120, 70), (29.0, 180, 110, 60),
], np.float64)  # fmt: skip


def paint_person(
    canvas: Canvas, person: Person, *, table: bool = False, screws: Sequence[int] = (), vertebrae: bool = True
) -> None:
    """Paints everything of `person` that the canvas's field of view holds, from the skin inwards.

    Args:
        canvas: an empty canvas in the person's frame.
        person: who.
        table: whether the scanner's table is seen.
        screws: neighbouring vertebrae (indices, 0 = C1) that screws and rods hold together, further to the findings.
        vertebrae: whether vertebrae and discs are painted, or left out for those of somebody else.
    """
    rng = np.random.default_rng(person.seed)
    ribs = rib_curves(person)
    _trunk(canvas, person, ribs)
    _arms(canvas, person)
    _head(canvas, person)
    _abdomen(canvas, person, rng)
    _chest(canvas, person)
    _muscles(canvas, person)
    _shoulders(canvas, person)
    _pelvis(canvas, person)
    _ribcage(canvas, person, ribs)
    _vessels(canvas, person)
    if vertebrae:
        _spine(canvas, person)
    _canal(canvas, person)
    if vertebrae:
        # The canal gives way to the dens, which with the arch before it is the densest bone of the neck.
        _bone(canvas, [_dens(canvas, person), *_atlas(canvas, person)], 2.6)
    for run in (screws, *person.findings.screws):
        _screws(canvas, person, run)
    for i in sorted(person.findings.cages):
        _cage(canvas, person, i)
    for run in person.findings.plates:
        _plate(canvas, person, run)
    if table:
        _table(canvas, person)


def rib_curves(person: Person) -> dict[tuple[int, int], Array]:
    """The middle lines of the ribs, mostly 24: (rib 1.., side 1 = left or -1 = right) -> (n, 3) LPS mm, head first."""
    rng = np.random.default_rng(person.seed + 1)
    wide, deep, steep = 1 + 0.05 * rng.standard_normal(), 1 + 0.06 * rng.standard_normal(), rng.uniform(0.8, 1.2)
    shape = person.size * np.array([wide, deep, steep])
    last = rng.uniform(0.45, 1.25)
    curves = {}
    # A 13th pair is shorter than the 12th, and its sides differ.
    stubs = np.random.default_rng(person.seed + 2).uniform(0.15, 0.8, 2) * last
    for rib in range(1, person.ribs + 1):
        i = T1 + rib - 1
        centre, frame = person.centroids[i], person.frames[i]
        half, depth, height = _body_size(person, i)
        shared_with_disc = 2 <= rib <= 9
        for side in (1, -1):
            mirror = np.array([side, 1, 1])
            head = np.array([half + 2, 0.55 * depth, (0.45 if shared_with_disc else 0.2) * height])
            tubercle = _transverse_tip(person, i) + np.array([-3.0, -5.0, 2.0])
            start = [centre + frame @ (mirror * p) for p in (head, tubercle)]
            back, far, front = (
                centre + mirror * shape * table[min(rib, 12) - 1]
                for table in (st.RIB_BACK_MM, st.RIB_SIDE_MM, st.RIB_FRONT_MM)
            )
            if rib == 12:
                far, front = back + last * (far - back), back + last * (front - back)
            elif rib == 13:
                share = stubs[0 if side == 1 else 1]
                back = start[1] + max(share, 0.35) * (back - start[1])
                far, front = back + share * (far - start[1]), back + share * (front - start[1])
            curves[rib, side] = _smooth(np.array([*start, back, far, front]), 24)
    return curves


def _smooth(points: Array, n: int) -> Array:
    # Catmull-Rom through the points, parametrised by chord length so that unequal steps do not loop.
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    knots = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(ends, axis=0), axis=1) ** 0.5)])
    t = np.linspace(knots[1], knots[-2], n)
    k = np.clip(np.searchsorted(knots, t, side="right") - 1, 1, len(points) - 1)
    t0, t1, t2, t3 = (knots[k + d][:, None] for d in (-1, 0, 1, 2))
    p0, p1, p2, p3 = (ends[k + d] for d in (-1, 0, 1, 2))
    t = t[:, None]
    a1 = p0 + (p1 - p0) * (t - t0) / (t1 - t0)
    a2 = p1 + (p2 - p1) * (t - t1) / (t2 - t1)
    a3 = p2 + (p3 - p2) * (t - t2) / (t3 - t2)
    b1, b2 = a1 + (a2 - a1) * (t - t0) / (t2 - t0), a2 + (a3 - a2) * (t - t1) / (t3 - t1)
    return np.asarray(b1 + (b2 - b1) * (t - t1) / (t2 - t1))


def _body_size(person: Person, i: int) -> tuple[float, float, float]:
    # Half width, half depth and height of a vertebral body, mm.
    half, kind = 0.5 * person.size, person.kinds[i]
    return half * float(st.BODY_WIDTH_MM[kind]), half * float(st.BODY_DEPTH_MM[kind]), float(person.heights[i])


def _body_centre(person: Person, i: int) -> Array:
    # The centroid of C2 counts its dens: body and arch lie lower.
    low = st.C2_BODY_MM * person.size if i == C2 else 0.0
    return np.asarray(person.centroids[i] - low * person.frames[i][:, 2])


def _canal_centre(person: Person, i: int) -> Array:
    if i == C1:
        return np.array([0.0, 7.5, 0.0]) * person.size
    _, depth, _ = _body_size(person, i)
    return np.array([0.0, 0.86 * depth + person.size * float(st.CANAL_RADIUS_MM[person.kinds[i]]), 0.0])


def _transverse_tip(person: Person, i: int) -> Array:
    # Left tip of the transverse process in the vertebra's own frame.
    s = person.size
    kind = person.kinds[i]
    x, canal = s * float(st.TRANSVERSE_MM[kind]), _canal_centre(person, i)
    if kind < C7:
        return np.array([x, canal[1] - 7 * s, -2 * s])
    if kind < L1:
        back, up = np.interp(kind, [T1, T12], [5, 15]), np.interp(kind, [T1, T12], [4, 2])
        return np.array([x, canal[1] + s * back, s * up])
    return np.array([x, canal[1] + 3 * s, 3 * s])


def outreach(person: Person, i: int) -> Array:
    """(n, 3) LPS mm: the outermost points of a vertebra; a field of view without one of them cuts the vertebra."""
    half, depth, height = _body_size(person, i)
    half, depth = max(half, 8.0), max(depth, 8.0)
    corners = np.stack(np.meshgrid((-half, half), (-depth, depth), (-height / 2, height / 2)), axis=-1).reshape(-1, 3)
    tip = _transverse_tip(person, i)
    points = np.concatenate([corners, [tip, tip * [-1, 1, 1], _spinous(person, i)[1]]])
    points = _body_centre(person, i) + points @ person.frames[i].T
    if i == C2:
        points = np.concatenate([points, [_dens_tip(person)]])
    return np.asarray(points)


def _spinous(person: Person, i: int) -> tuple[Array, Array]:
    s, kind = person.size, person.kinds[i]
    root = _canal_centre(person, i) + np.array([0, s * (st.CANAL_RADIUS_MM[kind] + 2), -0.12 * person.heights[i]])
    angle = np.radians(st.SPINOUS_DEG[kind])
    return root, root + s * st.SPINOUS_MM[kind] * np.array([0, np.cos(angle), -np.sin(angle)])


def _outline(person: Person, ribs: dict[tuple[int, int], Array], z: Array) -> tuple[Array, Array]:
    # Skin and inner wall of the trunk at heights z: (4, n) each: left, right, front, back, mm.
    grid = np.arange(person.centroids[-1, 2] - 60, person.centroids[0, 2] + 40, 4.0)
    level = np.interp(grid, person.centroids[::-1, 2], person.levels[::-1])
    x, y = person.spine_xy(grid)
    lean = np.array([np.interp(level, _OUTLINE[:, 0], column) for column in _OUTLINE.T[1:]]) * person.size
    skin = np.array([x + lean[0], x - lean[0], y - lean[1], y + lean[2]])
    bone = np.concatenate([points for (rib, _), points in ribs.items() if rib <= 11])
    cage = np.full((4, len(grid)), np.nan)
    for k, height in enumerate(grid):
        near = bone[np.abs(bone[:, 2] - height) < 14]
        if len(near):
            cage[:, k] = near[:, 0].max(), near[:, 0].min(), near[:, 1].min(), near[:, 1].max()
    held = np.isfinite(cage[0])
    # Below the ribs the wall follows the belly; above them the cage narrows to the neck.
    belly = skin + person.size * np.array([-17.0, 17.0, 11.0, 0.0])[:, None]
    belly[3] = y + 20 * person.size
    inner = np.where(held, cage, belly)
    abdomen = np.clip((level - (T12 + 1.0)) / 3.0, 0, 1)
    inner = (1 - abdomen) * inner + abdomen * belly
    fat = person.fat_mm * np.array([0.8, -0.8, -0.7, 0.5])[:, None] * np.ones(len(grid))
    fat[2] *= 1 + 0.6 * np.clip((level - T12) / 3, 0, 1)
    fat[:, level < T1] *= 0.5
    chest = np.where(held, 9.0 * person.size, -1e3)
    out = np.array([1, -1, -1, 1])[:, None]
    skin = out * np.maximum(out * skin, np.where(held, out * cage, -1e4) + chest) + fat
    kernel = np.hanning(9) / np.hanning(9).sum()
    smooth = [
        np.array([np.convolve(np.pad(row, 4, "edge"), kernel, "valid") for row in rows]) for rows in (skin, inner)
    ]
    at = [np.array([np.interp(z, grid, row) for row in rows]) for rows in smooth]
    return at[0], at[1]


def _inside(x: Array, y: Array, outline: Array, *, grow_mm: float = 0.0) -> NDArray[np.bool_]:
    # A rounded box in every slice: u^2 + v^2 - u^2 v^2 / 2 < 1, with u and v each two-dimensional.
    left, right, front, back = outline
    u = (x - (left + right) / 2) / np.maximum((left - right) / 2 + grow_mm, 1)
    v = (y - (front + back) / 2) / np.maximum((back - front) / 2 + grow_mm, 1)
    u2, v2 = (u * u).astype(np.float32)[:, None, :], (v * v).astype(np.float32)[None, :, :]
    return np.asarray((u2 * (1 - 0.5 * v2) + v2 < 1) & (u2 < 1) & (v2 < 1))


def _heights(canvas: Canvas) -> Array:
    return np.asarray(canvas.origin[2] + canvas.spacing_mm[2] * np.arange(canvas.tissue.shape[2]))


def _trunk(canvas: Canvas, person: Person, ribs: dict[tuple[int, int], Array]) -> None:
    z = _heights(canvas)
    skin, inner = _outline(person, ribs, z)
    tissue = canvas.tissue
    body = slice(0, int(np.searchsorted(z, person.centroids[C1, 2] + 5)))
    if body.stop == 0:
        return
    top = tissue[:, :, body]
    skin, inner, z = skin[:, body], inner[:, body], z[body]
    neck = np.interp(z, person.z_of([T1 + 0.5, C7 - 1.0]), [1.0, 0.5])
    fat = person.fat_mm * neck
    x, y = (canvas.part(axis, axis)[:, None] + canvas.part(2, axis)[body] for axis in (0, 1))
    top[_inside(x, y, skin)] = Tissue.SKIN
    top[_inside(x, y, skin, grow_mm=-2.0)] = Tissue.FAT
    under = skin + fat * np.array([-0.8, 0.8, 1.0, -0.5])[:, None]
    top[_inside(x, y, under)] = Tissue.MUSCLE
    cavity = _inside(x, y, inner, grow_mm=-3.0)
    cavity[:, :, z > person.z_of(T1 - 0.3)] = False
    # Behind the spine lie the muscles of the back, also where the lungs reach further back beside it.
    x_spine, y_spine = person.spine_xy(z)
    beside = np.abs(x - x_spine) < 22 * person.size
    cavity &= ~(beside[:, None, :] & (y - y_spine > 8 * person.size)[None, :, :])
    top[cavity] = Tissue.MESENTERY
    _lungs(person, x, y, inner, z, cavity, top)


def _lungs(
    person: Person, x: Array, y: Array, inner: Array, z: Array, cavity: NDArray[np.bool_], tissue: NDArray[np.uint8]
) -> None:
    # x (nx, nz) and y (ny, nz): bent coordinates, mm.
    s, shift = person.size, person.organ_shift
    x_spine, y_spine = person.spine_xy(z)
    middle_x, middle_y = (inner[0] + inner[1]) / 2, (inner[2] + inner[3]) / 2
    wide, deep = (inner[0] - inner[1]) / 2, (inner[3] - inner[2]) / 2
    lowest = person.z_of(T12 + 0.6 + 0.4 * shift)
    for side, top_level in ((1, 15.6), (-1, 15.1)):
        dome = person.z_of(top_level + 0.6 * shift)
        rows = np.flatnonzero((z > lowest) & (z < person.z_of(T1 - 0.2)))
        if not len(rows):
            continue
        k = slice(int(rows[0]), int(rows[-1]) + 1)
        across = (x[:, k] - middle_x[k]) * side
        along = (y[:, k] - middle_y[k]) / deep[k]
        # The diaphragm falls from its dome to the walls, and furthest to the back.
        fall = (0.75 * ((across / wide[k] - 0.5) / 0.55) ** 2).astype(np.float32)[:, None, :]
        fall = fall + (along**2 * (0.75 + 0.45 * along)).astype(np.float32)[None, :, :]
        lung = cavity[:, :, k] & (fall > ((dome - z[k]) / (62 * s)).astype(np.float32))
        # Between the lungs: a column in front of the spine, wider where the heart and the great vessels lie.
        from_spine = (x[:, k] - x_spine[k]) * side
        behind = (y[:, k] - y_spine[k]) / s
        # They touch the sides of the vertebral bodies.
        half = np.interp(behind, [-140, -110, -60, -25, -10, 12, 28, 45], [6, 12, 30, 24, 18.5, 18.5, 24, 28]) * s
        lung &= from_spine[:, None, :] > half[None, :, :]
        apex = person.at(T1 + 0.9, side * 42, -18)
        cap = 1 - ((z[k] - apex[2]) / (26 * s)).clip(0) ** 2
        radial = ((from_spine - 45 * s) / (48 * s))[:, None, :] ** 2 + ((behind + 22) / 55)[None, :, :] ** 2
        lung &= (radial < cap) | (z[k] < apex[2])
        tissue[:, :, k][lung] = Tissue.LUNG


def _arms(canvas: Canvas, person: Person) -> None:
    s = person.size
    if person.arms == "none":
        return
    for side in _SIDES:
        shoulder = person.at(T1 + 1.2, side * 158, -8)
        if person.arms == "down":
            elbow = person.at(L1 + 1.5, side * 215, 5)
            hand = person.at(S2 + 1.0, side * 205, -35)
        else:
            elbow = shoulder + s * np.array([side * 5, -25, 270])
            hand = elbow + s * np.array([-side * 110, -40, 60])
        line = [shoulder, elbow, hand]
        girth = s * np.array([50, 40, 30]) + 0.3 * person.fat_mm
        for tissue, thinner in ((Tissue.SKIN, 0.0), (Tissue.FAT, 2.0), (Tissue.MUSCLE, 3 + 0.35 * person.fat_mm)):
            tube = canvas.tube(line, girth - thinner)
            for under in (Tissue.AIR, Tissue.SKIN, Tissue.FAT):
                canvas.paint(tube, tissue, only=under)
        _bone(canvas, list(canvas.tube([shoulder, elbow], [13 * s, 10 * s])), 3.5)
        _bone(canvas, list(canvas.tube([elbow, hand], [11 * s, 9 * s])), 3.0)


def _bone(canvas: Canvas, parts: Parts, wall_mm: float = 1.2) -> None:
    wall = max(wall_mm, WALL_VOXELS * min(canvas.spacing_mm[0], canvas.spacing_mm[1]))
    canvas.paint(parts, Tissue.CORTICAL)
    canvas.paint(parts, Tissue.TRABECULAR, depth_mm=wall)


def _head(canvas: Canvas, person: Person) -> None:
    s = person.size
    # Heads differ in shape, in how they are held, and in how their base slopes. From a stream of its own: nothing else
    # that is drawn of a person depends on it.
    rng = np.random.default_rng((person.seed, 2))
    up = person.frames[C1][:, 2] + np.array([0, 0, 1.2])
    up = up / np.linalg.norm(up) + np.array([0, np.tan(rng.normal(0, 0.12)), 0])
    up /= np.linalg.norm(up)
    left = np.cross((0.0, 1.0, 0.0), up)
    left /= np.linalg.norm(left)
    frame = np.column_stack([left, np.cross(up, left), up])
    wide, long, high = rng.normal(1, 0.05, 3)

    def at(x: float, y: float, z: float) -> Array:
        return np.asarray(person.centroids[C1] + s * (frame @ np.array([x, y, z])))

    def blob(centre: Sequence[float], radii: Sequence[float] | Array) -> Solid | None:
        return canvas.ellipsoid(at(*centre), [r * s for r in radii], frame)

    # The base of the skull: the foramen magnum from the basion, some 6 mm above the dens, to the opisthion; in front
    # of it the clivus climbs to the sphenoid, on which the floor of the brain goes on to the front.
    basion, opisthion = (rng.normal(-10, 1.5), rng.normal(14.5, 2.0)), rng.normal(25, 2.5)
    saddle = (rng.normal(-33, 4), rng.normal(46, 4))
    vault = np.array([72 * wide, 92 * long, 74 * high])
    skull = (0, -10, 8 + vault[2])
    shapes: tuple[tuple[Sequence[float], Sequence[float] | Array], ...] = (
        (skull, vault + np.array([7, 6, 5])),
        ((0, -62, 18), (62, 58, 72)),  # face
        ((0, -72, -26), (52, 46, 36)),  # chin
        ((0, -34, -42), (44, 52, 40)),  # throat
        ((0, 20, 2), (54, 50, 46)),  # nape
    )
    for tissue, thinner in ((Tissue.SKIN, 0.0), (Tissue.FAT, 2.0), (Tissue.MUSCLE, 5.0)):
        heads = [blob(centre, [r - thinner for r in radii]) for centre, radii in shapes]
        for under in (Tissue.AIR, Tissue.SKIN, Tissue.FAT):
            canvas.paint(heads, tissue, only=under)
    canvas.paint(blob(skull, vault), Tissue.CORTICAL)
    canvas.paint(blob(skull, vault - 6), Tissue.BRAIN)
    # Below the front of the brain lies the face.
    face = [blob((0, -66, 26), (46, 48, 27)), blob((0, -33, 14), (24, 24, 15))]
    for under in (Tissue.CORTICAL, Tissue.BRAIN):
        canvas.paint(face, Tissue.MUSCLE, only=under)
    floor = canvas.capsule(at(0, *saddle), at(0, -100, saddle[1] + 8), 2.6 * s, frame=frame, stretch=(13, 1, 1))
    canvas.paint(floor, Tissue.CORTICAL)
    canvas.paint(blob((0, 0.5 * (basion[0] + opisthion), 10), (15, 0.5 * (opisthion - basion[0]), 12)), Tissue.CANAL)
    clivus = canvas.capsule(at(0, *basion), at(0, *saddle), 3.0 * s, 7.5 * s, frame=frame, stretch=(2.2, 1, 1))
    bones: Parts = [clivus, blob((0, -82, 12), (29, 24, 13))]
    for x in _SIDES:
        bones += [
            canvas.capsule(at(x * 17, -3, 9), at(x * 20, -2, 17), 7 * s),  # condyle
            canvas.capsule(at(x * 18, -10, 17), at(x * 48, -10, 22), 7 * s),  # petrous bone
            blob((x * 52, 4, 8), (12, 14, 18)),  # mastoid
            blob((x * 48, -72, 30), (14, 20, 9)),
        ]
    _bone(canvas, bones, 2.0)
    for x in _SIDES:
        jaw = [at(x * 50, -28, 14), at(x * 47, -38, -22), at(x * 35, -72, -38), at(x * 14, -98, -42), at(0, -103, -42)]
        _bone(canvas, list(canvas.tube(jaw, 5.0 * s, stretch=(1, 1, 1.7))), 2.0)
        teeth = [at(x * 26, -72, -12), at(x * 20, -92, -14), at(0, -102, -14)]
        canvas.paint(canvas.tube(teeth, 4.5 * s, stretch=(1, 1, 1.9)), Tissue.TOOTH)
        # Air in the mastoid and in the ear.
        canvas.paint([blob((x * 53, 0, 10), (7, 8, 10)), blob((x * 50, -14, 20), (9, 4, 4))], Tissue.GAS)
    canvas.paint(blob((0, -70, -14), (20, 26, 18)), Tissue.MUSCLE)
    nose: Parts = [blob((0, -80, 34), (10, 34, 17)), blob((0, -34, 12), (11, 8, 14)), blob((0, -82, 3), (16, 18, 3))]
    if rng.random() < 0.7:  # the sphenoid sinus
        nose.append(blob((0, saddle[0] - 13, saddle[1] - 6), (11, 9, 8)))
    canvas.paint(nose, Tissue.GAS)
    for x in _SIDES:
        canvas.paint(blob((x * 30, -82, 32), (13, 16, 14)), Tissue.GAS)


def _abdomen(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    s, d = person.size, person.organ_shift
    fill = Tissue.MESENTERY

    def blob(level: float, x: float, y: float, radii: Sequence[float], tissue: Tissue) -> None:
        solid = canvas.ellipsoid(person.at(level + d, x, y), [r * s for r in radii])
        canvas.paint(solid, tissue, only=fill)

    blob(17.6, -72, -50, (82, 82, 88), Tissue.LIVER)
    blob(16.4, -10, -85, (75, 50, 42), Tissue.LIVER)
    blob(17.6, 98, -12, (34, 48, 52), Tissue.SPLEEN)
    blob(18.2, 58, -82, (46, 45, 48), Tissue.ORGAN)
    blob(17.9, 55, -95, (28, 28, 30), Tissue.GAS)
    for side, lower in ((1.0, -0.15), (-1.0, 0.2)):
        blob(19.6 + lower, side * 57, -14, (27, 23, 54), Tissue.KIDNEY)
    canvas.paint(
        canvas.tube([person.at(19.6 + d, 60, -60), person.at(19.6 + d, 0, -58), person.at(20.3 + d, -40, -58)], 12 * s),
        Tissue.ORGAN,
        only=fill,
    )
    # Colon: a frame of wide loops with gas and stool; small bowel: many short loops within it.
    for _ in range(int(rng.integers(45, 70))):
        level = rng.uniform(20.0, 27.0)
        outer = rng.random() < 0.35
        x = rng.choice(_SIDES) * rng.uniform(85, 115) if outer else rng.uniform(-85, 85)
        y = rng.uniform(-60, -20) if outer else rng.uniform(-105, -45)
        r = rng.uniform(16, 26) if outer else rng.uniform(9, 16)
        stretch = rng.uniform(0.8, 1.8, 3)
        place = person.at(level, x, y)
        radii = [r * s * k for k in stretch]
        canvas.paint(canvas.ellipsoid(place, radii), Tissue.BOWEL, only=fill)
        if rng.random() < (0.5 if outer else 0.15):
            gas = canvas.ellipsoid(place - np.array([0, 0.2 * radii[1], 0]), [0.75 * q for q in radii])
            canvas.paint(gas, Tissue.GAS, only=Tissue.BOWEL)
    bladder = canvas.ellipsoid(person.at(28.0, 0, -85), [38 * s, 32 * s, 30 * s])
    canvas.paint(bladder, Tissue.CANAL, only=fill)


def _chest(canvas: Canvas, person: Person) -> None:
    s, d = person.size, 0.5 * person.organ_shift
    heart = canvas.ellipsoid(person.at(14.3 + d, 24, -82), [54 * s, 46 * s, 56 * s])
    canvas.paint(heart, Tissue.HEART, only=Tissue.LUNG)
    canvas.paint(heart, Tissue.HEART, only=Tissue.MESENTERY)
    for x, y, z in ((-15, -55, 11.2), (22, -62, 11.6), (5, -45, 12.2)):
        canvas.paint(canvas.ellipsoid(person.at(z, x, y), [17 * s, 20 * s, 26 * s]), Tissue.BLOOD)
    branch = person.at(10.6 + d, 0, -38)
    airway = [
        person.at(C1 + 0.3, 0, -19),
        person.at(3.2, 0, -20),
        person.at(5.2, 0, -24),
        person.at(T1 + 0.5, 0, -30),
        branch,
    ]
    canvas.paint(canvas.tube(airway, np.array([6, 7, 8.5, 8.5, 9]) * s), Tissue.GAS)
    for side, drop in ((1.0, 26.0), (-1.0, 30.0)):
        canvas.paint(canvas.tube([branch, branch + s * np.array([side * 34, -8, -drop])], 6.5 * s), Tissue.GAS)
    gullet = [person.at(4.5, 3, -13), person.at(T1, 4, -16), person.at(12, 4, -24), person.at(16.3, 10, -32)]
    canvas.paint(canvas.tube(gullet, 5.5 * s), Tissue.ORGAN)
    for side in _SIDES:
        canvas.paint(canvas.ellipsoid(person.at(T1 - 0.7, side * 20, -36), [9 * s, 10 * s, 24 * s]), Tissue.ORGAN)


def _muscles(canvas: Canvas, person: Person) -> None:
    s = person.size
    for side in _SIDES:
        psoas = [
            person.at(lv, side * x, y)
            for lv, x, y in ((19, 26, 2), (21, 38, -2), (23, 50, -12), (25, 62, -48), (27, 72, -75))
        ]
        canvas.paint(canvas.tube(psoas, np.array([6, 15, 21, 22, 20]) * s), Tissue.MUSCLE)
        erector = [
            person.at(lv, side * x, y)
            for lv, x, y in ((7, 22, 34), (12, 26, 46), (18, 30, 50), (22, 34, 50), (25, 30, 46))
        ]
        canvas.paint(
            canvas.tube(erector, np.array([15, 16, 22, 24, 12]) * s, stretch=(1.3, 1, 1)),
            Tissue.MUSCLE,
            only=Tissue.FAT,
        )
        # Fat between the muscles of the back: what outlines them in a scan.
        gap = [person.at(lv, side * x, y) for lv, x, y in ((19, 62, 28), (21, 66, 26), (23, 66, 26))]
        canvas.paint(canvas.tube(gap, 5 * s, stretch=(0.7, 2.5, 1)), Tissue.FAT, only=Tissue.MUSCLE)
        neck = [person.at(lv, side * x, y) for lv, x, y in ((1, 38, -8), (4, 40, -18), (6, 34, -45))]
        canvas.paint(canvas.tube(neck, 11 * s), Tissue.MUSCLE, only=Tissue.FAT)
        seam = [person.at(lv, side * x, y) for lv, x, y in ((1, 26, -12), (4, 30, -14), (6, 36, -10))]
        canvas.paint(canvas.tube(seam, 5 * s), Tissue.FAT, only=Tissue.MUSCLE)
        buttock = canvas.ellipsoid(person.at(27.0, side * 75, 42), [62 * s, 34 * s, 85 * s])
        canvas.paint(buttock, Tissue.MUSCLE, only=Tissue.FAT)


def _shoulders(canvas: Canvas, person: Person) -> None:
    s = person.size
    raised = 0.8 if person.arms == "up" else 0.0
    for side in _SIDES:
        joint = person.at(T1 + 1.2 - raised, side * 158, -8)
        inner = person.at(T1 + 1.5, side * 20, -66)
        middle = person.at(T1 + 0.2 - raised, side * 85, -40)
        _bone(canvas, list(canvas.tube([inner, middle, joint + s * np.array([0, 8, 22])], 6.0 * s)), 2.0)
        _bone(canvas, [canvas.ellipsoid(joint, [24 * s] * 3)], 2.0)
        blade = [(T1 + 1.0, 78, 52), (T1 + 6.3, 92, 50), (T1 + 2.0, 135, 15)]
        upper, tip, socket = (person.at(level - raised, side * x, y) for level, x, y in blade)
        sheet = [
            canvas.capsule(upper, tip, 3.2 * s, stretch=(3.0, 1, 2)),
            canvas.capsule(socket, tip, 4.5 * s),
            canvas.capsule((upper + socket) / 2, tip, 2.6 * s, stretch=(5.0, 1.2, 2)),
            canvas.capsule(upper, socket, 5.0 * s),
            canvas.capsule(socket, socket + s * np.array([side * 8, -6, 2]), 13 * s),
            canvas.capsule(
                (upper + socket) / 2 + s * np.array([0, 14, 0]),
                joint + s * np.array([0, 22, 24]),
                5 * s,
                stretch=(1, 1.5, 1),
            ),
        ]
        _bone(canvas, sheet, 1.5)


def _pelvis(canvas: Canvas, person: Person) -> None:
    s = person.size
    sacrum, crest = person.centroids[person.index(S1)], person.z_of(L5 - 0.75 + 0.5 * person.organ_shift)
    box = canvas.box(sacrum + s * np.array([-150, -115, -110]), [sacrum[0] + 150 * s, sacrum[1] + 70 * s, crest])
    if box is not None:
        x, y, z = canvas.project(box, np.eye(3) / s, sacrum)
        top = (crest - sacrum[2]) / s
        # The wing: from the joint with the sacrum forwards and outwards, opening upwards, under an arched crest.
        side = np.abs(x) - (72 - 0.62 * y + 0.42 * np.clip(z, -50, None))
        side += 0.004 * (y + 20) ** 2
        arch = z - (top - ((y + 18) / 78) ** 2 * 62)
        thick = 4.5 + 4.0 * np.clip(-z / 40, 0, 1.2) + 3.0 * np.exp(-((arch + 4) ** 2) / 60)
        wing = np.maximum(np.abs(side) * 0.8 - thick, arch)
        wing = np.maximum(wing, np.maximum(y - 45, -95 - z + 0.3 * (y + 20)))
        _bone(canvas, [(box, (wing * s).astype(np.float32))], 1.8)
    for side_ in _SIDES:
        hip = sacrum + s * np.array([side_ * 90, -38, -98])
        socket = canvas.ellipsoid(hip, [33 * s] * 3)
        _bone(canvas, [socket], 2.5)
        front = sacrum + s * np.array([side_ * 8, -88, -135])
        _bone(canvas, list(canvas.tube([hip + s * np.array([-side_ * 18, -10, 0]), front], 9 * s)), 2.0)
        seat = sacrum + s * np.array([side_ * 62, 0, -160])
        _bone(canvas, list(canvas.tube([hip + s * np.array([-side_ * 5, 15, -10]), seat], 14 * s)), 2.0)
        _bone(canvas, [canvas.ellipsoid(hip + s * np.array([side_ * 3, 0, -2]), [24 * s] * 3)], 2.0)
        _bone(
            canvas,
            list(
                canvas.tube(
                    [hip, hip + s * np.array([side_ * 50, 5, -35]), hip + s * np.array([side_ * 50, 5, -120])],
                    [16 * s, 18 * s, 15 * s],
                )
            ),
            4.0,
        )


def _ribcage(canvas: Canvas, person: Person, ribs: dict[tuple[int, int], Array]) -> None:
    s = person.size
    heights = person.z_of(np.linspace(T1 + 1.8, T1 + 8.3, 8))
    _, inner = _outline(person, ribs, heights)
    plate = np.column_stack([person.spine_xy(heights)[0], inner[2] - s, heights])
    for rib in range(1, 11):
        for side in (1, -1):
            end = ribs[rib, side][-1]
            target = plate[min(int((rib - 1) * 1.1), 7)] if rib <= 7 else ribs[rib - 1, side][-1] + (0, 2, -6)
            bow = (end + target) / 2 + s * np.array([side * 4, -4 if rib <= 7 else -2, -10 if rib > 3 else 0])
            canvas.paint(canvas.tube([end, bow, target], 4.5 * s, stretch=(1, 1, 1.4)), Tissue.CARTILAGE)
    _bone(canvas, list(canvas.tube(plate, 5.0 * s, stretch=(3.6, 1, 1))), 1.2)
    for (rib, _), curve in ribs.items():
        radius = s * np.interp(np.arange(len(curve)), [0, 3, 20, 23], [4.2, 3.4, 3.4, 4.2])
        stretch = (1.5, 1.5, 0.8) if rib == 1 else (1.0, 1.0, 1.75)
        # The neck of a rib is a round rod; the rest is a band on edge.
        neck, band = canvas.tube(curve[:5], radius[:5]), canvas.tube(curve[4:], radius[4:], stretch=stretch)
        _bone(canvas, [*neck, *band], 1.0)


def _vessels(canvas: Canvas, person: Person) -> None:
    s, d = person.size, 0.4 * person.organ_shift
    body = 0.5 * st.BODY_DEPTH_MM

    def in_front(level: float, x: float, gap: float) -> Array:
        return person.at(level, x, -float(np.interp(level, np.arange(26), body)) - gap)

    fork = in_front(22.1 + d, 3, 10)
    aorta = [
        person.at(13.0, 5, -70), person.at(11.2, -12, -78), person.at(10.0, 2, -62), person.at(10.0, 20, -32),
        person.at(11.0, 26, -14), person.at(14.0, 22, -20), in_front(17.5, 10, 12), in_front(20, 8, 11), fork,
    ]  # fmt: skip
    radii = np.array([16, 16, 14, 13, 12.5, 12, 11, 9.5, 8.5]) * s
    canvas.paint(canvas.tube(aorta, radii), Tissue.BLOOD)
    cava = [person.at(15.0, -16, -62), in_front(17.0, -24, 20), in_front(20, -20, 12), in_front(22.4 + d, -14, 11)]
    canvas.paint(canvas.tube(cava, np.array([12, 12, 11, 10]) * s, stretch=(1.2, 1, 1)), Tissue.BLOOD)
    canvas.paint(canvas.tube([person.at(T1 + 2.0, -22, -62), person.at(13, -26, -58)], 9 * s), Tissue.BLOOD)
    for side in _SIDES:
        leg = [fork, person.at(24.0, side * 32, -45), person.at(26.0, side * 58, -70), person.at(28.5, side * 62, -105)]
        canvas.paint(canvas.tube(leg, 5.5 * s), Tissue.BLOOD)
        vein = [cava[-1], person.at(24.2, side * 30 - 3, -33), person.at(26.0, side * 52, -60)]
        canvas.paint(canvas.tube(vein, 6 * s), Tissue.BLOOD)
        neck = [
            person.at(T1 + 2.4, side * 14, -58),
            person.at(T1 - 0.5, side * 28, -34),
            person.at(2.0, side * 30, -18),
        ]
        canvas.paint(canvas.tube(neck, 4 * s), Tissue.BLOOD)
        jugular = [p + s * np.array([side * 9, 2, 0]) for p in neck]
        canvas.paint(canvas.tube(jugular, 5.5 * s), Tissue.BLOOD)


def _spine(canvas: Canvas, person: Person) -> None:
    s1 = person.index(S1)
    for i in range(1, s1 + 1):
        _disc(canvas, person, i)
    _bone(canvas, [part for i in range(s1 + 2, len(person.kinds)) for part in _sacral_parts(canvas, person, i)], 1.5)
    for i in range(s1 + 1, C1, -1):
        parts = _posterior(canvas, person, i)
        if i == C2:
            parts += _shoulders_of_axis(canvas, person)
        if i >= s1:
            parts += _sacral_parts(canvas, person, i)
        _vertebra(canvas, person, i, parts)
    for i in sorted(person.findings.fused):
        _fusion(canvas, person, i)
    _spurs(canvas, person)
    for i in sorted(person.findings.cement):
        _cement(canvas, person, i)
    _sacral_holes(canvas, person)


def _canal(canvas: Canvas, person: Person) -> None:
    s, s1 = person.size, person.index(S1)
    centres = [person.centroids[i] + person.frames[i] @ _canal_centre(person, i) for i in range(s1 + 2)]
    crown = person.centroids[C1] + person.frames[C1] @ (s * np.array([0, 4.0, 16.0]))
    tail = person.centroids[s1 + 4] + person.frames[s1 + 4] @ (s * np.array([0, 7.0, 0]))
    line = np.array([crown, *centres, tail])
    canal = np.concatenate([[13], 0.95 * st.CANAL_RADIUS_MM[list(person.kinds[: s1 + 2])], [3]]) * s
    canvas.paint(canvas.tube(line, canal, stretch=(1.12, 1, 1)), Tissue.CANAL)
    # The cord ends about L1-L2; nerve roots in the fluid go on.
    cord = np.interp(np.arange(-1, 20), [-1, 3, 6, 9, 17, 19], [7.5, 6.2, 6.8, 4.6, 5.0, 3.0]) * s
    canvas.paint(canvas.tube(line[:21], cord, stretch=(1.2, 1, 1)), Tissue.CORD)


def _disc(canvas: Canvas, person: Person, i: int) -> None:
    half, depth, _ = _body_size(person, i)
    upper, lower = person.centroids[i], person.centroids[i + 1]
    reach = np.array([half, half, half]) + 8
    box = canvas.box(np.minimum(upper, lower) - reach, np.maximum(upper, lower) + reach)
    if box is None:
        return
    axis = upper - lower
    frame = np.column_stack([person.frames[i][:, :2], axis / (axis @ axis)])
    x, y, z = canvas.project(box, frame, lower)
    round_ = np.sqrt((x / half) ** 2 + (y / depth) ** 2)
    canvas.paint((box, np.maximum((round_ - 1.02) * half, np.abs(z - 0.5) - 0.5)), Tissue.DISC)


def _vertebra(canvas: Canvas, person: Person, i: int, parts: Parts) -> None:
    wall = max(1.3, WALL_VOXELS * min(canvas.spacing_mm[0], canvas.spacing_mm[1]))
    canvas.paint(parts, Tissue.CORTICAL)
    cap: Solid | None = None
    spongy: Solid | None = None
    half, depth, height = _body_size(person, i)
    centre, frame = _body_centre(person, i), person.frames[i]
    reach = np.abs(frame) @ np.array([1.1 * half, 1.1 * depth, 0.55 * height])
    box = canvas.box(centre - reach, centre + reach)
    if box is not None:
        plate = max(0.9, WALL_VOXELS * canvas.spacing_mm[2])
        u, v, w = canvas.project(box, frame / np.array([half, depth, height / 2]), centre)
        v -= 0.09
        rho2 = u * u + v * v
        flare = 1 + 0.13 * (w * w - 0.6)
        side = (np.sqrt(rho2) - flare) * min(half, depth)
        fracture = person.findings.fractures.get(i)
        # The back of the body is flat to hollow, and the end plates are dished.
        back = (v - 0.8 + 0.1 * (1 - u * u)) * depth
        dish = np.float32(fracture.dish if fracture else (0.10 if i >= T1 else 0.05))
        edge = np.abs(w) if fracture is None else np.abs(w) - np.float32(_slope(person, i)) * v
        lid = (edge - 1 + dish * np.maximum(1 - rho2, 0)) * (height / 2)
        whole = np.maximum(np.maximum(side, back), lid)
        canvas.paint((box, whole), Tissue.CORTICAL)
        cap = box, np.where(lid > -plate, whole, np.float32(1.0))
        # Under the plates only their own thickness counts, not the thicker one a voxel gives the walls.
        spongy = box, np.maximum(np.maximum(side, back) + wall, lid + plate)
    canvas.paint(parts, Tissue.TRABECULAR, depth_mm=wall)
    canvas.paint(cap, Tissue.ENDPLATE)
    canvas.paint(spongy, Tissue.TRABECULAR)


def _fusion(canvas: Canvas, person: Person, i: int) -> None:
    # Bone grows through a disc and its end plates; a wall remains around it, and often a trace of the disc.
    half, depth, height = _body_size(person, i)
    upper, lower = person.centroids[i], person.centroids[i + 1]
    axis = upper - lower
    reach = np.full(3, half + 2)
    box = canvas.box(np.minimum(upper, lower) - reach, np.maximum(upper, lower) + reach)
    if box is None:
        return
    frame = np.column_stack([person.frames[i][:, :2] / np.array([half, depth]), axis / (axis @ axis)])
    u, v, w = canvas.project(box, frame, 0.5 * (upper + lower))
    reach_w = 0.5 - 0.36 * height / float(np.linalg.norm(axis))
    column = np.maximum((np.sqrt(u * u + (v - 0.09) ** 2) - 0.97) * depth, (np.abs(w) - reach_w) * height)
    column = np.maximum(column, (v - 0.75) * depth)
    wall = max(1.3, WALL_VOXELS * min(canvas.spacing_mm[0], canvas.spacing_mm[1]))
    for under in (Tissue.DISC, Tissue.ENDPLATE, Tissue.CORTICAL):
        if under != Tissue.CORTICAL:
            canvas.paint((box, column), Tissue.CORTICAL, only=under)
        canvas.paint((box, column + wall), Tissue.TRABECULAR, only=under)


def _spurs(canvas: Canvas, person: Person) -> None:
    # Claws from the rims on both sides of a disc, in front and at the sides, that may meet and close over it.
    rng = np.random.default_rng(person.seed + 3)
    s, findings = person.size, person.findings
    parts: Parts = []
    for i, reach in findings.spurs.items():
        gap = person.centroids[i] - person.centroids[i + 1]
        gap /= np.linalg.norm(gap)
        spots = rng.uniform(-110, 110, int(rng.integers(2, 6)))
        for angle in np.radians(spots):
            outward = np.array([np.sin(angle), -np.cos(angle), 0.0])
            along = np.array([np.cos(angle), np.sin(angle), 0.0])
            tips = []
            for j, down in ((i, -1.0), (i + 1, 1.0)):
                half, depth, height = _body_size(person, j)
                centre, frame = person.centroids[j], person.frames[j]
                size = reach * rng.uniform(0.6, 1.2)
                slope = _slope(person, j) * outward[1]
                rim = outward * [half, depth, 0] + [0, 0.09 * depth, down * 0.43 * height * (1 + slope)]
                tip = rim + outward * (0.9 * size) + [0, 0, down * 0.45 * size]
                turned = np.column_stack([frame @ along, frame @ outward, frame[:, 2]])
                root, end = centre + frame @ (rim - 1.5 * outward), centre + frame @ tip
                parts.append(canvas.capsule(root, end, 2.6 * s, 1.5 * s, turned, (2.2, 1, 1)))
                tips.append((end, turned))
            if i in findings.bridges:
                parts.append(canvas.capsule(tips[0][0], tips[1][0], 2.2 * s, 2.2 * s, tips[0][1], (2.4, 1, 1)))
    _bone(canvas, parts, 1.4)


def _slope(person: Person, i: int) -> float:
    # How the height of a body grows from its middle to its back, relative to its height in the middle.
    fracture = person.findings.fractures.get(i)
    return 0.0 if fracture is None else (fracture.back - fracture.front) / (fracture.back + fracture.front)


def _cement(canvas: Canvas, person: Person, i: int) -> None:
    # Some blobs from one side or both, within the body but for a leak now and then.
    rng = np.random.default_rng((person.seed, 4, i))
    half, depth, height = _body_size(person, i)
    spongy = (Tissue.TRABECULAR, Tissue.ENDPLATE, Tissue.CORTICAL, Tissue.DISC)
    for _ in range(int(rng.integers(3, 7))):
        place = rng.uniform(-0.45, 0.45, 3) * [half, depth, 0.4 * height] - [0, 0.15 * depth, 0]
        radii = rng.uniform(0.18, 0.42, 3) * [half, depth, 0.8 * height]
        blob = canvas.ellipsoid(person.centroids[i] + person.frames[i] @ place, radii.tolist(), person.frames[i])
        for under in spongy if rng.random() < 0.15 else spongy[:2]:
            canvas.paint(blob, Tissue.CEMENT, only=under)


def _posterior(canvas: Canvas, person: Person, i: int) -> Parts:
    s, centre, frame = person.size, _body_centre(person, i), person.frames[i]
    _, depth, height = _body_size(person, i)
    kind = person.kinds[i]
    canal, radius = _canal_centre(person, i), s * float(st.CANAL_RADIUS_MM[kind])
    apart = 0.5 * s * float(st.PEDICLE_DISTANCE_MM[kind])
    rod = s * float(np.interp(kind, [1, 5, 7, 10, 18, 23, 25], [4, 3, 3.2, 2.8, 4.5, 7.0, 5]))
    facet = s * float(np.interp(kind, [1, 6, 8, 18, 20, 23, 25], [7, 5.5, 4.2, 4.2, 5.5, 7.5, 4]))

    def rod_between(a: Sequence[float] | Array, b: Sequence[float] | Array, r: float, *stretch: float) -> Solid | None:
        a, b = centre + frame @ np.asarray(a), centre + frame @ np.asarray(b)
        return canvas.capsule(a, b, r, frame=frame, stretch=stretch or (1.0, 1.0, 1.0))

    root, tip = _spinous(person, i)
    transverse = _transverse_tip(person, i)
    high = (0.16 if kind >= T1 else 0.0) * height
    blade = float(np.interp(kind, [1, 6, 12, 17, 19, 23, 25], [1.3, 1.3, 1.4, 2.2, 3.4, 3.0, 1.5]))
    parts: Parts = [rod_between(root, tip, 3.0 * s, 1, 1, blade)]
    if 1 <= kind <= 5:
        parts += [rod_between(tip, tip + np.array([x * 5 * s, 4 * s, -2 * s]), 2.6 * s) for x in _SIDES]
    for x in _SIDES:
        mirror = np.array([x, 1, 1])
        behind = np.array([apart, canal[1], high]) * mirror
        parts.append(rod_between([x * apart, 0.6 * depth, high], behind, rod, 1, 1, 1.35))
        parts.append(rod_between(behind, root, 2.6 * s, 1, 1, 2.0 if kind < L1 else 2.6))
        if kind < T1:
            pillar = np.array([apart + 3 * s, canal[1] - 3 * s, 0]) * mirror
            lean = np.array([0, 3 * s, -0.52 * height])
            parts.append(rod_between(pillar - lean, pillar + lean, facet))
            parts.append(rod_between(pillar, transverse * mirror, 3.0 * s))
        else:
            reach = 0.5 * height + (3 if kind < L1 else 6) * s
            upper = np.array([apart + 1, canal[1] + 3 * s, reach]) * mirror
            lower = np.array([0.8 * apart, canal[1] + 0.6 * radius + 6 * s, -reach]) * mirror
            parts.append(rod_between(behind, upper, 0.85 * facet))
            parts.append(rod_between(behind, lower, 0.8 * facet))
            last = kind == L5 and person.kinds[i + 1] == S1
            thick, tall = (4.2 * s, 1.1) if kind < L1 else ((5.0 * s, 1.3) if last else (2.8 * s, 1.8))
            parts.append(rod_between(behind, transverse * mirror, thick, 1, 1, tall))
    return parts


def _dens_tip(person: Person) -> Array:
    return np.asarray(person.centroids[C1] + person.size * person.frames[C1] @ _DENS_TIP)


def _dens(canvas: Canvas, person: Person) -> Solid | None:
    s, foot, tip = person.size, person.centroids[C2], _dens_tip(person)
    return canvas.capsule(foot, tip + 5.0 * s * (foot - tip) / np.linalg.norm(foot - tip), 6.2 * s, 5.0 * s)


def _shoulders_of_axis(canvas: Canvas, person: Person) -> Parts:
    s, centre, frame = person.size, person.centroids[C2], person.frames[C2]
    places = [centre + frame @ (s * np.array([x * 15.0, 1.0, 3.0])) for x in _SIDES]
    return [canvas.ellipsoid(place, [9 * s, 9 * s, 5 * s], frame) for place in places]


def _atlas(canvas: Canvas, person: Person) -> Parts:
    s, centre, frame = person.size, person.centroids[C1], person.frames[C1]

    def tube(points: Sequence[Sequence[float]], r: float) -> Parts:
        return list(canvas.tube([centre + frame @ (s * np.array(p)) for p in points], r * s, stretch=(1, 1, 1.4)))

    parts: Parts = []
    for x in _SIDES:
        parts += tube([(x * 19, -4, -4), (x * 21, -3, 5)], 8.0)
        parts += tube([(x * 16, -8, 0), (x * 8, -13, 0), (0, -14.5, 0)], 3.6)
        parts += tube([(x * 21, 3, 0), (x * 18, 11, 0), (x * 10, 18, 0), (0, 20.5, 0)], 3.2)
        parts += tube([(x * 24, -2, 0), (x * 38, 0, -1)], 4.0)
    return parts


def _screws(canvas: Canvas, person: Person, levels: Sequence[int]) -> None:
    s = person.size
    for side in _SIDES:
        heads = []
        for i in levels:
            centre, frame = person.centroids[i], person.frames[i]
            _, depth, height = _body_size(person, i)
            aside = side * 0.5 * s * float(st.PEDICLE_DISTANCE_MM[person.kinds[i]])
            head = centre + frame @ np.array([1.1 * aside, _canal_centre(person, i)[1] + 16 * s, 0.16 * height])
            tip = centre + frame @ np.array([0.55 * aside, -0.4 * depth, 0.1 * height])
            canvas.paint(canvas.capsule(tip, head, 2.8), Tissue.METAL)
            canvas.paint(canvas.capsule(head, head, 6.0), Tissue.METAL)
            heads.append(head)
        canvas.paint(canvas.tube(np.array(heads).reshape(-1, 3), 2.8), Tissue.METAL)


def _cage(canvas: Canvas, person: Person, i: int) -> None:
    # A frame of metal, or one that X-rays pass and that only its pins of metal show; bone grows through its middle.
    rng = np.random.default_rng((person.seed, 5, i))
    half, depth, _ = _body_size(person, i)
    upper, lower = person.centroids[i], person.centroids[i + 1]
    frame, middle = person.frames[i], 0.5 * (upper + lower)
    gap = float(np.linalg.norm(upper - lower)) - 0.5 * float(person.heights[i] + person.heights[i + 1])
    tall = max(0.55 * gap, 2.5)
    wide, deep = rng.uniform(0.4, 0.7) * half, rng.uniform(0.5, 0.7) * depth
    corners = [(-wide, -deep, 0), (wide, -deep, 0), (wide, deep, 0), (-wide, deep, 0), (-wide, -deep, 0)]
    line = [middle + frame @ np.array(corner) for corner in corners]
    canvas.paint(canvas.ellipsoid(middle, [wide, deep, tall], frame), Tissue.TRABECULAR, only=Tissue.DISC)
    if rng.random() < 0.5:
        canvas.paint(canvas.tube(line, 1.3, stretch=(1, 1, tall / 1.3)), Tissue.METAL)
    else:
        up = frame[:, 2] * tall
        canvas.paint([canvas.capsule(p - up, p + up, 1.0) for p in line[:3]], Tissue.METAL)


def _plate(canvas: Canvas, person: Person, levels: Sequence[int]) -> None:
    s = person.size
    fronts = []
    for i in levels:
        centre, frame = person.centroids[i], person.frames[i]
        half, depth, _ = _body_size(person, i)
        front = centre - frame[:, 1] * (depth + 1.5)
        fronts.append(front)
        for x in _SIDES:
            head, tip = front + frame[:, 0] * (x * 0.4 * half), centre + frame[:, 0] * (x * 0.25 * half)
            canvas.paint(canvas.capsule(head, tip, 1.8), Tissue.METAL)
    first, last = (person.frames[i][:, 2] * 0.3 * float(person.heights[i]) for i in (levels[0], levels[-1]))
    line = [fronts[0] + first, *fronts, fronts[-1] - last]
    canvas.paint(canvas.tube(line, 1.3 * s, stretch=(6.0, 1, 1)), Tissue.METAL)


def _sacral_parts(canvas: Canvas, person: Person, i: int) -> Parts:
    # The wings of a sacral vertebra, and below S2 its body too.
    s, centre, frame = person.size, person.centroids[i], person.frames[i]
    levels = np.arange(S1, 30)
    wide, deep, tall, reach = (
        float(np.interp(person.kinds[i], levels, sizes))
        for sizes in (
            (25, 18, 15, 13, 11, 7),
            (15, 10.5, 8.5, 7, 6, 4),
            (15, 14, 12.5, 11.5, 10, 9),
            (52, 47, 40, 31, 22, 6),
        )
    )
    parts: Parts = []
    if person.kinds[i] > S2:
        parts.append(canvas.ellipsoid(centre, [wide * s, deep * s, tall * s], frame))
    for x in _SIDES:
        ala = centre + frame @ (s * np.array([x * 0.62 * reach, 5.0, -1.0]))
        parts.append(canvas.ellipsoid(ala, [0.44 * reach * s, (deep + 1) * s, (tall + 3) * s], frame))
    return parts


def _sacral_holes(canvas: Canvas, person: Person) -> None:
    s = person.size
    s1 = person.index(S1)
    for i in range(s1, s1 + 4):
        between, frame = 0.5 * (person.centroids[i] + person.centroids[i + 1]), person.frames[i]
        for x in _SIDES:
            aside = x * float(np.interp(person.kinds[i], [24, 27], [24, 15]))
            start, end = (between + frame @ (s * np.array([aside, y, 0])) for y in (-22.0, 18.0))
            canvas.paint(canvas.capsule(start, end, 4.5 * s), Tissue.FAT)


def _table(canvas: Canvas, person: Person) -> None:
    back = person.centroids[:, 1].max() + 78 * person.size + 0.5 * person.fat_mm
    x, y, _ = person.at(14.0)
    y = canvas.part(1, 1)[None, :] - (back + 10)
    across = (canvas.part(0, 0)[:, None] - x) / 260
    depth = y + 25 * across**2
    shell = (np.abs(np.abs(depth - 18) - 18) < max(1.2, 0.6 * canvas.spacing_mm[1])) & (np.abs(across) < 1)
    tissue = canvas.tissue
    tissue[shell[:, :, None] & (tissue == Tissue.AIR)] = Tissue.TABLE
