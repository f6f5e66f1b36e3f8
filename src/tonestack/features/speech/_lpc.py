"""Linear prediction: polynomials A(z) = 1 + a_1 z^-1 + ... + a_p z^-p and what is derived from them, many at once."""

import numpy as np


def burg(frames: np.ndarray, order: int) -> np.ndarray:
    """Polynomials [1, a_1 .. a_p] of frames (t, n) by Burg's method: float64 (t, order + 1); silence gives A(z) = 1."""
    import librosa  # seconds to import: only workers that predict pay for it

    return np.asarray(librosa.lpc(np.asarray(frames, np.float64), order=order, axis=-1))


def levinson(r: np.ndarray, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Polynomials (t, order + 1) and residual powers (t,) from autocorrelations r (t, > order) (Durbin's recursion)."""
    a = np.zeros((len(r), order + 1))
    a[:, 0] = 1
    error = r[:, 0].astype(np.float64)
    for i in range(1, order + 1):
        reflection = -(a[:, :i] * r[:, i:0:-1]).sum(axis=1) / error
        a[:, 1 : i + 1] += reflection[:, None] * a[:, i - 1 :: -1][:, :i]
        error = error * (1 - reflection**2)
    return a, error


def cepstra(a: np.ndarray, count: int) -> np.ndarray:
    """Cepstrum c_1 .. c_count (t, count) of the all-pole models 1 / A(z) (Atal 1974).

    n c_n = -n a_n - sum over k of k c_k a_(n - k); a_n is 0 beyond the order.
    """
    order = a.shape[1] - 1
    c = np.zeros((len(a), count + 1))
    for n in range(1, count + 1):
        k = np.arange(max(1, n - order), n)
        own = a[:, n] if n <= order else 0.0
        c[:, n] = -own - (k / n * c[:, k] * a[:, n - k]).sum(axis=1)
    return c[:, 1:]


def line_spectral_frequencies(a: np.ndarray) -> np.ndarray:
    """Line spectral frequencies (t, p) of polynomials of even order p, in radians, ascending within each row.

    The angles of the roots on the unit circle of P(z) = A(z) + z^-(p+1) A(1/z) and Q(z) = A(z) - z^-(p+1) A(1/z)
    (Itakura 1975). Without their roots at -1 and 1 both are symmetric, so they are Chebyshev series in cos w
    (Kabal and Ramachandran 1986).
    """
    extended = np.pad(a, ((0, 0), (0, 1)))
    mirrored = extended[:, ::-1]
    p = _divided(extended + mirrored, -1.0)
    q = _divided(extended - mirrored, 1.0)
    cosines = np.concatenate([_chebyshev_roots(p), _chebyshev_roots(q)], axis=1)
    return np.sort(np.arccos(np.clip(cosines, -1, 1)), axis=1)


def root_angles(polynomials: np.ndarray) -> np.ndarray:
    """Angles (t, n) in radians, ascending, of the roots of polynomials (t, n + 1), highest power first and not 0."""
    n = polynomials.shape[1] - 1
    companion = np.zeros((len(polynomials), n, n))
    companion[:, 0] = -polynomials[:, 1:] / polynomials[:, :1]
    companion[:, np.arange(1, n), np.arange(n - 1)] = 1
    return np.sort(np.angle(np.linalg.eigvals(companion)), axis=1)


def _divided(polynomial: np.ndarray, root: float) -> np.ndarray:
    """Quotients (t, m) of polynomials (t, m + 1) by 1 - root z^-1, where `root` is a root (Horner)."""
    out = polynomial[:, :-1].copy()
    for i in range(1, out.shape[1]):
        out[:, i] += root * out[:, i - 1]
    return out


def _chebyshev_roots(symmetric: np.ndarray) -> np.ndarray:
    """Cosines (t, m) at which symmetric polynomials (t, 2 m + 1) vanish on the unit circle."""
    m = symmetric.shape[1] // 2
    series = symmetric[:, m::-1].copy()  # of T_0 .. T_m, halved below
    series[:, 0] /= 2
    scale = np.full(m, np.sqrt(0.5))
    scale[0] = 1.0
    colleague = np.zeros((len(series), m, m))
    beside = np.full(m - 1, 0.5)
    beside[:1] = np.sqrt(0.5)
    rows = np.arange(m - 1)
    colleague[:, rows, rows + 1] = colleague[:, rows + 1, rows] = beside
    colleague[:, :, -1] -= series[:, :-1] / series[:, -1:] * (scale / scale[-1]) * (0.5 if m > 1 else 1.0)
    return np.real(np.linalg.eigvals(colleague))
